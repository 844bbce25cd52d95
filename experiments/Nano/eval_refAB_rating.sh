#!/bin/sh
# Accuracy of the answers of infer_refAB_rating.sh about held-out photos.
#   sh eval_refAB_rating.sh [options of cal_acc_rating.py]      e.g. --confidence
cd "$(dirname "$0")" || exit
. ../_base_/env.sh
. ../_base_/score.sh

score cal_acc_rating quality_compare nano_refAB_rating test/metas/refAB_rating.json "$@"
exit $status
