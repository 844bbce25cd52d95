#!/bin/sh
# Describe the quality of a picture in detail, without a reference: one distortion, then several.
#   sh infer_A_detail.sh [GPU] [options of infer.py]
. ../_base_/env.sh

exec "$PYTHON" $LAUNCH ../../src/infer.py --cfg config.yaml \
    --task_name quality_single_A_noref \
    --meta_path KADIS700K/A_sd_detail/metas/test_A_sd_detail_200.json \
                KADIS700K/A_md_detail/metas/test_A_md_detail_100.json \
    --dataset_name kadis_A_sd_detail \
                   kadis_A_md_detail \
    --batch_size 16 "$@"
