#!/bin/sh
# Accuracy of the answers of infer_refA_brief.sh: one distortion, then several.
#   sh eval_refA_brief.sh [options of cal_acc_single_distortion.py]
. ../_base_/env.sh
. ../_base_/score.sh

score cal_acc_single_distortion quality_single_A kadis_refA_sd_brief \
    KADIS700K/refA_sd_brief/metas/test_refA_sd_single_5k.json "$@"
score cal_acc_multi_distortion quality_single_A kadis_refA_md_brief \
    KADIS700K/refA_md_brief/metas/test_refA_md_single_5k.json "$@"
exit $status
