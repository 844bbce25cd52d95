#!/bin/sh
# Compare two pictures in detail, without a reference (MBAPPS).
#   sh infer_AB_detail_mbapps.sh [GPU] [options of infer.py]
. ../_base_/env.sh

exec "$PYTHON" $LAUNCH ../../src/infer.py --cfg config.yaml \
    --task_name quality_compare_noref \
    --meta_path BAPPS/metas/test_AB_detail_mbapps_200.json \
    --dataset_name mbapps_AB_detail \
    --batch_size 16 "$@"
