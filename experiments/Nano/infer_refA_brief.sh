#!/bin/sh
# Name the distortions of held-out photos in a few words, against their references.
#   sh infer_refA_brief.sh [GPU] [options of infer.py]      after: python ../../build_datasets/nano/build.py --test --out data/test
cd "$(dirname "$0")" || exit
. ../_base_/env.sh

exec "$PYTHON" $LAUNCH ../../src/infer.py --cfg config.yaml \
    --task_name quality_single_A \
    --meta_path test/metas/refA_brief.json \
    --dataset_name nano_refA_brief \
    --batch_size 16 "$@"
