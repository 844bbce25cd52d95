#!/bin/sh
# Accuracy of the answers of infer_refA_brief.sh about held-out photos.
#   sh eval_refA_brief.sh [options of cal_acc_single_distortion.py]
cd "$(dirname "$0")" || exit
. ../_base_/env.sh
. ../_base_/score.sh

score cal_acc_single_distortion quality_single_A nano_refA_brief test/metas/refA_brief.json "$@"
exit $status
