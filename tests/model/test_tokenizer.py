"""Token ids equal those of the slow Llama tokenizer that checkpoints were trained with."""

import pytest

from conftest import ARTIFACTS, golden
from depictqa.errors import InputError
from depictqa.model.tokenizer import load_tokenizer
from depictqa.prompts import FORMATS, TASKS, render

TOKENIZERS = {"true": load_tokenizer(ARTIFACTS / "llm_tiny"), "false": load_tokenizer(ARTIFACTS / "llm_tiny_bin")}
CASES = golden("prompts/static.json")["tokenizer_cases"]


@pytest.mark.parametrize("legacy", TOKENIZERS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: repr(case["text"]))
def test_encode(case, legacy):
    assert TOKENIZERS[legacy].encode(case["text"]) == case[f"legacy_{legacy}_ids"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: repr(case["text"]))
def test_decode(case):
    legacy, modern = TOKENIZERS["true"], TOKENIZERS["false"]
    assert legacy.decode(case["legacy_true_ids"], skip_special_tokens=False) == case["legacy_true_decode"]
    assert legacy.decode(case["legacy_true_ids"]) == case["legacy_true_decode_skip_special"]
    assert modern.decode(case["legacy_false_ids"]) == case["legacy_false_decode_skip_special"]


def test_prompt_ids_of_every_golden_question():
    for case in golden("prompts/infer.json"):
        encode = TOKENIZERS[case["tokenizer_legacy"]].encode
        rows = zip(case["queries"], case["query_input_ids"], case["query_pad_lengths"], strict=True)
        for query, ids, padding in rows:
            prompt = render(TASKS[case["task_type"]], query, FORMATS[case["conv_type"]], case["unique_tag"])
            assert [encode(piece) for piece in prompt.prefix] == case["prefix_ids"]
            assert encode(prompt.pieces[-1]) == ids[: len(ids) - padding]


def test_token_texts_spell_the_text():
    tokenizer = TOKENIZERS["true"]
    texts = tokenizer.token_texts(tokenizer.encode("Image A\n </s>"))
    assert "".join(texts) == " Image A\n </s>"
    assert texts[-3:] == ["\n", " ", "</s>"]


def test_special_tokens_by_text():
    assert TOKENIZERS["true"].token_id("</s>") == 2
    assert TOKENIZERS["true"].token_id("###") is None


def test_broken_model_file(tmp_path):
    (tmp_path / "tokenizer.model").write_bytes(b"\xff\xff no sentencepiece")
    with pytest.raises(InputError, match="tokenizer.model: not a sentencepiece model"):
        load_tokenizer(tmp_path)
