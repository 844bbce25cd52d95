#!/bin/sh
# Say which of two pictures is better, without a reference: six benchmarks.
#   sh infer_AB_rating.sh [GPU] [options of infer.py]      BAPPS_FORM=_s64: in the form that MBAPPS has
. ../_base_/env.sh

exec "$PYTHON" $LAUNCH ../../src/infer.py --cfg config.yaml \
    --task_name quality_compare_noref \
    --meta_path BAPPS/metas/test_AB_single_bapps_9.4k"${BAPPS_FORM:-}".json \
                KADID10K/metas/test_AB_single_kadid_7.5k.json \
                PIPAL/metas/test_AB_single_pipal_17.5k.json \
                TID2013/metas/test_AB_single_tid2013_2.5k.json \
                LIVEMD/metas/test_AB_single_livemd_2k.json \
                MDID2013/metas/test_AB_single_mdid_2k.json \
    --dataset_name bapps_AB \
                   kadid_AB \
                   pipal_AB \
                   tid_AB \
                   livemd_AB \
                   mdid_AB \
    --batch_size 16 "$@"
