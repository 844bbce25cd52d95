#!/bin/sh
cd "$(dirname "$0")" && exec sh ../_base_/eval_refA_brief.sh "$@"
