#!/bin/sh
cd "$(dirname "$0")" && exec sh ../_base_/infer_refAB_rating.sh "$@"
