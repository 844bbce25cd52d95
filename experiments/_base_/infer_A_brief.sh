#!/bin/sh
# Name the distortions of a picture, in a few words, without a reference: one distortion, then several.
#   sh infer_A_brief.sh [GPU] [options of infer.py]
. ../_base_/env.sh

exec "$PYTHON" $LAUNCH ../../src/infer.py --cfg config.yaml \
    --task_name quality_single_A_noref \
    --meta_path KADIS700K/A_sd_brief/metas/test_A_sd_single_4k_exclude.json \
                KADIS700K/A_md_brief/metas/test_A_md_single_3k_exclude.json \
    --dataset_name kadis_A_sd_brief \
                   kadis_A_md_brief \
    --batch_size 16 "$@"
