#!/bin/sh
# Describe the quality of real photos from the web, of any size.
#   sh infer_A_real.sh [GPU] [options of infer.py]
. ../_base_/env.sh

exec "$PYTHON" $LAUNCH ../../src/infer.py --cfg config.yaml \
    --task_name quality_single_A_noref \
    --meta_path web_download/metas/test_A_web.json \
    --dataset_name A_web_detail \
    --batch_size 1 "$@"
