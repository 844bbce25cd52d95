#!/bin/sh
cd "$(dirname "$0")" && exec sh ../_base_/train.sh "$@"
