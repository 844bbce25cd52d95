#!/bin/sh
# Grades of the answers of infer_A_detail.sh by a language model, each paid for once (docs/evaluation.md; needs OPENAI_API_KEY).
#   sh eval_A_detail.sh [options of cal_gpt4_score_detail_v1.py]      e.g. --max_cost 5; VERSION=v2: agreement with the truth
. ../_base_/env.sh
. ../_base_/score.sh

judge quality_single_A_noref kadis_A_sd_detail KADIS700K/A_sd_detail/metas/test_A_sd_detail_200.json "$@"
judge quality_single_A_noref kadis_A_md_detail KADIS700K/A_md_detail/metas/test_A_md_detail_100.json "$@"
exit $status
