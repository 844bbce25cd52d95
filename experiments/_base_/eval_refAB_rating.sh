#!/bin/sh
# Accuracy of the answers of infer_refAB_rating.sh on six benchmarks.
#   sh eval_refAB_rating.sh [options of cal_acc_rating.py]      e.g. --confidence; BAPPS_FORM=_s64: in the form that MBAPPS has
. ../_base_/env.sh
. ../_base_/score.sh

score cal_acc_rating quality_compare bapps_refAB BAPPS/metas/test_refAB_single_bapps_9.4k"${BAPPS_FORM:-}".json "$@"
score cal_acc_rating quality_compare kadid_refAB KADID10K/metas/test_refAB_single_kadid_7.5k.json "$@"
score cal_acc_rating quality_compare pipal_refAB PIPAL/metas/test_refAB_single_pipal_17.5k.json "$@"
score cal_acc_rating quality_compare tid_refAB TID2013/metas/test_refAB_single_tid2013_2.5k.json "$@"
score cal_acc_rating quality_compare livemd_refAB LIVEMD/metas/test_refAB_single_livemd_2k.json "$@"
score cal_acc_rating quality_compare mdid_refAB MDID2013/metas/test_refAB_single_mdid_2k.json "$@"
exit $status
