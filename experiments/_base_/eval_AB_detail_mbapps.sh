#!/bin/sh
# Grades of the answers of infer_AB_detail_mbapps.sh by a language model, each paid for once (docs/evaluation.md; needs OPENAI_API_KEY).
#   sh eval_AB_detail_mbapps.sh [options of cal_gpt4_score_detail_v1.py]      e.g. --max_cost 5; VERSION=v2: agreement with the truth
. ../_base_/env.sh
. ../_base_/score.sh

judge quality_compare_noref mbapps_AB_detail BAPPS/metas/test_AB_detail_mbapps_200.json "$@"
exit $status
