#!/bin/sh
# Describe the quality of a picture in detail, against its reference (MBAPPS).
#   sh infer_refA_detail_mbapps.sh [GPU] [options of infer.py]
. ../_base_/env.sh

exec "$PYTHON" $LAUNCH ../../src/infer.py --cfg config.yaml \
    --task_name quality_single_A \
    --meta_path BAPPS/metas/test_refA_detail_mbapps_50.json \
    --dataset_name mbapps_refA_detail \
    --batch_size 16 "$@"
