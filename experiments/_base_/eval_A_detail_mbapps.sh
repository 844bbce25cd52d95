#!/bin/sh
# Grades of the answers of infer_A_detail_mbapps.sh by a language model, each paid for once (docs/evaluation.md; needs OPENAI_API_KEY).
#   sh eval_A_detail_mbapps.sh [options of cal_gpt4_score_detail_v1.py]      e.g. --max_cost 5; VERSION=v2: agreement with the truth
. ../_base_/env.sh
. ../_base_/score.sh

judge quality_single_A_noref mbapps_A_detail BAPPS/metas/test_A_detail_mbapps_50.json "$@"
exit $status
