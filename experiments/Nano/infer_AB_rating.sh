#!/bin/sh
# Say which of two distorted forms of held-out photos is better, without a reference.
#   sh infer_AB_rating.sh [GPU] [options of infer.py]      after: python ../../build_datasets/nano/build.py --test --out data/test
cd "$(dirname "$0")" || exit
. ../_base_/env.sh

exec "$PYTHON" $LAUNCH ../../src/infer.py --cfg config.yaml \
    --task_name quality_compare_noref \
    --meta_path test/metas/AB_rating.json \
    --dataset_name nano_AB_rating \
    --batch_size 16 "$@"
