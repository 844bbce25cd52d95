#!/bin/sh
# Name the distortions of a picture, in a few words, against its reference: one distortion, then several.
#   sh infer_refA_brief.sh [GPU] [options of infer.py]
. ../_base_/env.sh

exec "$PYTHON" $LAUNCH ../../src/infer.py --cfg config.yaml \
    --task_name quality_single_A \
    --meta_path KADIS700K/refA_sd_brief/metas/test_refA_sd_single_5k.json \
                KADIS700K/refA_md_brief/metas/test_refA_md_single_5k.json \
    --dataset_name kadis_refA_sd_brief \
                   kadis_refA_md_brief \
    --batch_size 16 "$@"
