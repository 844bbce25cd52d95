#!/bin/sh
# Grades of the answers of infer_refAB_detail.sh by a language model, each paid for once (docs/evaluation.md; needs OPENAI_API_KEY).
#   sh eval_refAB_detail.sh [options of cal_gpt4_score_detail_v1.py]      e.g. --max_cost 5; VERSION=v2: agreement with the truth
cd "$(dirname "$0")" || exit
. ../_base_/env.sh
. ../_base_/score.sh

judge quality_compare nano_refAB_detail test/metas/refAB_detail.json "$@"
exit $status
