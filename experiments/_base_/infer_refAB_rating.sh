#!/bin/sh
# Say which of two pictures is better, against their reference: six benchmarks.
#   sh infer_refAB_rating.sh [GPU] [options of infer.py]      BAPPS_FORM=_s64: in the form that MBAPPS has
. ../_base_/env.sh

exec "$PYTHON" $LAUNCH ../../src/infer.py --cfg config.yaml \
    --task_name quality_compare \
    --meta_path BAPPS/metas/test_refAB_single_bapps_9.4k"${BAPPS_FORM:-}".json \
                KADID10K/metas/test_refAB_single_kadid_7.5k.json \
                PIPAL/metas/test_refAB_single_pipal_17.5k.json \
                TID2013/metas/test_refAB_single_tid2013_2.5k.json \
                LIVEMD/metas/test_refAB_single_livemd_2k.json \
                MDID2013/metas/test_refAB_single_mdid_2k.json \
    --dataset_name bapps_refAB \
                   kadid_refAB \
                   pipal_refAB \
                   tid_refAB \
                   livemd_refAB \
                   mdid_refAB \
    --batch_size 16 "$@"
