#!/bin/sh
cd "$(dirname "$0")" && exec sh ../_base_/launch_demo.sh "$@"
