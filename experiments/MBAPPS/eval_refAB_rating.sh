#!/bin/sh
cd "$(dirname "$0")" && exec env BAPPS_FORM=_s64 sh ../_base_/eval_refAB_rating.sh "$@"
