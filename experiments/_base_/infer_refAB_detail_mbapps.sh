#!/bin/sh
# Compare two pictures in detail, against their reference (MBAPPS).
#   sh infer_refAB_detail_mbapps.sh [GPU] [options of infer.py]
. ../_base_/env.sh

exec "$PYTHON" $LAUNCH ../../src/infer.py --cfg config.yaml \
    --task_name quality_compare \
    --meta_path BAPPS/metas/test_refAB_detail_mbapps_200.json \
    --dataset_name mbapps_refAB_detail \
    --batch_size 16 "$@"
