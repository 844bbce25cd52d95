#!/bin/sh
cd "$(dirname "$0")" && exec sh ../_base_/infer_A_brief.sh "$@"
