#!/bin/sh
# Describe the quality of a picture in detail, without a reference (MBAPPS).
#   sh infer_A_detail_mbapps.sh [GPU] [options of infer.py]
. ../_base_/env.sh

exec "$PYTHON" $LAUNCH ../../src/infer.py --cfg config.yaml \
    --task_name quality_single_A_noref \
    --meta_path BAPPS/metas/test_A_detail_mbapps_50.json \
    --dataset_name mbapps_A_detail \
    --batch_size 16 "$@"
