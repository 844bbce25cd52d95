#!/bin/sh
# Accuracy of the answers of infer_A_brief.sh: one distortion, then several.
#   sh eval_A_brief.sh [options of cal_acc_single_distortion.py]
. ../_base_/env.sh
. ../_base_/score.sh

score cal_acc_single_distortion quality_single_A_noref kadis_A_sd_brief \
    KADIS700K/A_sd_brief/metas/test_A_sd_single_4k_exclude.json "$@"
score cal_acc_multi_distortion quality_single_A_noref kadis_A_md_brief \
    KADIS700K/A_md_brief/metas/test_A_md_single_3k_exclude.json "$@"
exit $status
