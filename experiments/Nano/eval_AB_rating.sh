#!/bin/sh
# Accuracy of the answers of infer_AB_rating.sh about held-out photos.
#   sh eval_AB_rating.sh [options of cal_acc_rating.py]      e.g. --confidence
cd "$(dirname "$0")" || exit
. ../_base_/env.sh
. ../_base_/score.sh

score cal_acc_rating quality_compare_noref nano_AB_rating test/metas/AB_rating.json "$@"
exit $status
