#!/bin/sh
# Accuracy of the answers of infer_AB_rating.sh on six benchmarks.
#   sh eval_AB_rating.sh [options of cal_acc_rating.py]      e.g. --confidence; BAPPS_FORM=_s64: in the form that MBAPPS has
. ../_base_/env.sh
. ../_base_/score.sh

score cal_acc_rating quality_compare_noref bapps_AB BAPPS/metas/test_AB_single_bapps_9.4k"${BAPPS_FORM:-}".json "$@"
score cal_acc_rating quality_compare_noref kadid_AB KADID10K/metas/test_AB_single_kadid_7.5k.json "$@"
score cal_acc_rating quality_compare_noref pipal_AB PIPAL/metas/test_AB_single_pipal_17.5k.json "$@"
score cal_acc_rating quality_compare_noref tid_AB TID2013/metas/test_AB_single_tid2013_2.5k.json "$@"
score cal_acc_rating quality_compare_noref livemd_AB LIVEMD/metas/test_AB_single_livemd_2k.json "$@"
score cal_acc_rating quality_compare_noref mdid_AB MDID2013/metas/test_AB_single_mdid_2k.json "$@"
exit $status
