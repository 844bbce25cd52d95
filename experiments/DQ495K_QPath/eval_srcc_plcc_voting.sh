#!/bin/sh
cd "$(dirname "$0")" && exec sh ../_base_/eval_srcc_plcc_voting.sh "$@"
