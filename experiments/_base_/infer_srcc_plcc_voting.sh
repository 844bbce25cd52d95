#!/bin/sh
# Compare all pairs of pictures of a reference: eval_srcc_plcc_voting.sh counts the votes into scores.
#   sh infer_srcc_plcc_voting.sh [GPU] [options of infer.py]
. ../_base_/env.sh

exec "$PYTHON" $LAUNCH ../../src/infer.py --cfg config.yaml \
    --task_name quality_compare \
    --meta_path KADID10K/metas_srcc_plcc_voting/test_refAB_single_kadid_124k.json \
                CSIQ/metas_srcc_plcc_voting/test_refAB_single_csiq_12k.json \
                TID2013/metas_srcc_plcc_voting/test_refAB_single_tid2013_179k.json \
    --dataset_name kadid_srcc_plcc_voting \
                   csiq_srcc_plcc_voting \
                   tid_srcc_plcc_voting \
    --batch_size 16 "$@"
