#!/bin/sh
cd "$(dirname "$0")" && exec sh ../_base_/eval_refAB_rating.sh "$@"
