#!/bin/sh
# Accuracy of the answers of infer_A_brief.sh about held-out photos.
#   sh eval_A_brief.sh [options of cal_acc_single_distortion.py]
cd "$(dirname "$0")" || exit
. ../_base_/env.sh
. ../_base_/score.sh

score cal_acc_single_distortion quality_single_A_noref nano_A_brief test/metas/A_brief.json "$@"
exit $status
