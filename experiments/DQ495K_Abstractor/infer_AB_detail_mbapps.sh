#!/bin/sh
cd "$(dirname "$0")" && exec sh ../_base_/infer_AB_detail_mbapps.sh "$@"
