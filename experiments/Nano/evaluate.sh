#!/bin/sh
# The table of docs/nano.md: figures on held-out photos with 95% intervals, targets and baselines; under 40 minutes on two cores.
#   sh evaluate.sh [options of build_datasets/nano/evaluate.py, e.g. --quick, --out table.md, --dtype bf16]
cd "$(dirname "$0")" || exit
. ../_base_/env.sh

"$PYTHON" ../../build_datasets/nano/build.py --test --out data/test || exit
exec "$PYTHON" ../../build_datasets/nano/evaluate.py --cfg config.yaml --test data/test "$@"
