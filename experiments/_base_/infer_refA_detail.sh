#!/bin/sh
# Describe the quality of a picture in detail, against its reference: one distortion, then several.
#   sh infer_refA_detail.sh [GPU] [options of infer.py]
. ../_base_/env.sh

exec "$PYTHON" $LAUNCH ../../src/infer.py --cfg config.yaml \
    --task_name quality_single_A \
    --meta_path KADIS700K/refA_sd_detail/metas/test_refA_sd_detail_200.json \
                KADIS700K/refA_md_detail/metas/test_refA_md_detail_100.json \
    --dataset_name kadis_refA_sd_detail \
                   kadis_refA_md_detail \
    --batch_size 16 "$@"
