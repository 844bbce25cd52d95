#!/bin/sh
# Answer questions about pictures of your own: META is a json list of items with
#   id, image_ref, image_A, image_B (null where there is none), query
# and TASK says which of the pictures are shown: quality_single_A, quality_single_B, quality_compare, each with _noref
# for no reference. Paths are relative to data.root_dir of config.yaml, or absolute.
#   sh infer_custom.sh [GPU] META NAME TASK [options of infer.py]      writes answers/TASK_NAME.json
. ../_base_/env.sh

if [ $# -lt 3 ]; then echo "usage: sh infer_custom.sh [GPU] META NAME TASK [options of infer.py]" >&2; exit 2; fi
meta=$1 name=$2 task=$3
shift 3

exec "$PYTHON" $LAUNCH ../../src/infer.py --cfg config.yaml \
    --task_name "$task" --meta_path "$meta" --dataset_name "$name" "$@"
