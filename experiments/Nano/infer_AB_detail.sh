#!/bin/sh
# Compare two distorted forms of held-out photos in detail, without a reference.
#   sh infer_AB_detail.sh [GPU] [options of infer.py]      after: python ../../build_datasets/nano/build.py --test --out data/test
cd "$(dirname "$0")" || exit
. ../_base_/env.sh

exec "$PYTHON" $LAUNCH ../../src/infer.py --cfg config.yaml \
    --task_name quality_compare_noref \
    --meta_path test/metas/AB_detail.json \
    --dataset_name nano_AB_detail \
    --batch_size 16 "$@"
