#!/bin/sh
# Grades of the answers of infer_refAB_detail.sh by a language model, each paid for once (docs/evaluation.md; needs OPENAI_API_KEY).
#   sh eval_refAB_detail.sh [options of cal_gpt4_score_detail_v1.py]      e.g. --max_cost 5; VERSION=v2: agreement with the truth
. ../_base_/env.sh
. ../_base_/score.sh

judge quality_compare kadis_refAB_sd_detail KADIS700K/refAB_sd_detail/metas/test_refAB_sd_detail_200.json "$@"
judge quality_compare kadis_refAB_md_detail KADIS700K/refAB_md_detail/metas/test_refAB_md_detail_100.json "$@"
exit $status
