#!/bin/sh
# Votes of infer_srcc_plcc_voting.sh -> a score of each picture -> SRCC and PLCC with the mean opinion scores.
#   sh eval_srcc_plcc_voting.sh [options of cal_srcc_plcc_voting.py]
. ../_base_/env.sh
. ../_base_/score.sh

exec "$PYTHON" ../../src/eval/cal_srcc_plcc_voting.py \
    --test_paths "$data"/KADID10K/metas_srcc_plcc_voting/test_refAB_single_kadid_124k.json \
                 "$data"/CSIQ/metas_srcc_plcc_voting/test_refAB_single_csiq_12k.json \
                 "$data"/TID2013/metas_srcc_plcc_voting/test_refAB_single_tid2013_179k.json \
    --pred_paths "$answers"/quality_compare_kadid_srcc_plcc_voting.json \
                 "$answers"/quality_compare_csiq_srcc_plcc_voting.json \
                 "$answers"/quality_compare_tid_srcc_plcc_voting.json \
    --gt_paths "$data"/KADID10K/metas_srcc_plcc_voting/test_ref_dist_mos_kadid.json \
               "$data"/CSIQ/metas_srcc_plcc_voting/test_ref_dist_mos_csiq.json \
               "$data"/TID2013/metas_srcc_plcc_voting/test_ref_dist_mos_tid2013.json \
    --confidence "$@"
