#!/bin/sh
cd "$(dirname "$0")" && exec sh ../_base_/eval_A_detail_mbapps.sh "$@"
