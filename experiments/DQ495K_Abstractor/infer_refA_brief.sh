#!/bin/sh
cd "$(dirname "$0")" && exec sh ../_base_/infer_refA_brief.sh "$@"
