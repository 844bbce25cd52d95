#!/bin/sh
# Compare two pictures in detail, against their reference: one distortion, then several.
#   sh infer_refAB_detail.sh [GPU] [options of infer.py]
. ../_base_/env.sh

exec "$PYTHON" $LAUNCH ../../src/infer.py --cfg config.yaml \
    --task_name quality_compare \
    --meta_path KADIS700K/refAB_sd_detail/metas/test_refAB_sd_detail_200.json \
                KADIS700K/refAB_md_detail/metas/test_refAB_md_detail_100.json \
    --dataset_name kadis_refAB_sd_detail \
                   kadis_refAB_md_detail \
    --batch_size 16 "$@"
