#!/bin/sh
# Compare two pictures in detail, without a reference: one distortion, then several.
#   sh infer_AB_detail.sh [GPU] [options of infer.py]
. ../_base_/env.sh

exec "$PYTHON" $LAUNCH ../../src/infer.py --cfg config.yaml \
    --task_name quality_compare_noref \
    --meta_path KADIS700K/AB_sd_detail/metas/test_AB_sd_detail_200.json \
                KADIS700K/AB_md_detail/metas/test_AB_md_detail_100.json \
    --dataset_name kadis_AB_sd_detail \
                   kadis_AB_md_detail \
    --batch_size 16 "$@"
