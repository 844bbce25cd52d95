#!/bin/sh
cd "$(dirname "$0")" && exec sh ../_base_/infer_srcc_plcc_voting.sh "$@"
