"""Greedy answers equal the original's; an answer does not depend on its batch."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from conftest import DATA, golden
from depictqa.inference.generation import generate
from depictqa.inference.sampling import Sampling
from depictqa.inference.session import Session
from depictqa.model.fusion import collate
from inference.questions import GREEDY, fuse, golden_prompts

RUNS = {"e2e": "llm_tiny", "e2e_legacy_false": "llm_tiny_bin"}


@pytest.mark.parametrize("run", RUNS)
def test_greedy_answers(run, tiny_model):
    logits = np.load(DATA / run / "infer_logits.npz")
    for case in golden(f"{run}/infer.json"):
        if len(case["query"]) > 1:  # the original attended to padding: batches are tested below, against single rows
            continue
        model, preprocess = tiny_model(case["model"], RUNS[run], case["conv_type"], case["unique_tag"])
        prompt = fuse(case, model, preprocess)
        assert len(prompt) == case["prompt_len"]
        batch = collate([prompt], model.embed_tokens, padding_side="left")
        with torch.no_grad():
            first = model.llm(inputs_embeds=batch.inputs_embeds, attention_mask=batch.attention_mask).logits[0, -1]
        np.testing.assert_allclose(first, logits[case["first_token_logits"]][0], atol=1e-3)
        (answer,) = generate(model, [prompt], GREEDY)
        assert (
            answer.output_id == case["output_ids"][0][1:]
        )  # the original's begin with <s>, which the model never sees
        assert answer.text == case["output_text"][0].strip()
        np.testing.assert_allclose(answer.prob, case["output_probs"][0], atol=1e-4)


@pytest.mark.parametrize("name", ["base", "abs", "glob"])
@pytest.mark.parametrize("size", [3, 8])
def test_an_answer_does_not_depend_on_its_batch(name, size, tiny_model):
    """Batches mix tasks, numbers of images, picture sizes and question lengths."""
    model, preprocess = tiny_model(name)
    cases = [case for case in golden("e2e/infer.json") if case["model"] == name and case["conv_type"] == "vicuna_v1"]
    prompts = [fuse(case, model, preprocess) for case in cases if case["unique_tag"]]
    alone = [generate(model, [prompt], GREEDY)[0] for prompt in prompts]
    order = torch.randperm(len(prompts), generator=torch.Generator().manual_seed(size)).tolist()
    for start in range(0, len(order), size):
        rows = order[start : start + size]
        for row, answer in zip(rows, generate(model, [prompts[row] for row in rows], GREEDY), strict=True):
            assert answer.output_id == alone[row].output_id
            np.testing.assert_allclose(answer.prob, alone[row].prob, atol=1e-4)


def test_images_embedded_together_equal_images_embedded_alone(tiny_model):
    for name in ("base", "abs", "glob"):
        model, _ = tiny_model(name)
        images = [
            torch.randint(0, 255, (3, h, w), dtype=torch.uint8) for h, w in ((70, 84), (84, 70), (70, 98), (140, 70))
        ]
        with torch.no_grad():
            for image, embeds in zip(images, model.embed_images(images), strict=True):
                torch.testing.assert_close(embeds, model.embed_images([image])[0], atol=1e-4, rtol=1e-4)


def test_each_row_has_its_own_length_limit(tiny_model):
    model, preprocess = tiny_model()
    prompts = golden_prompts(model, preprocess, 2)
    answers = generate(model, prompts, [Sampling(max_new_tokens=3), Sampling(max_new_tokens=5)])
    assert [len(answer.output_id) for answer in answers] == [3, 5]


HOT = Sampling(temperature=1.5, top_p=0.95, max_new_tokens=12)


def test_sampling_is_seeded_and_keeps_to_the_nucleus(tiny_model):
    model, preprocess = tiny_model()
    prompts = golden_prompts(model, preprocess, 1)
    draws = [generate(model, prompts, replace(HOT, seed=seed))[0].output_id for seed in (1, 1, -1, 2**63 - 1, 4)]
    assert draws[0] == draws[1]
    assert len(set(map(tuple, draws))) > 1
    assert len({tuple(generate(model, prompts, HOT)[0].output_id) for _ in range(4)}) > 1  # no seed: fresh draws
    greedy = generate(model, prompts, Sampling(max_new_tokens=12))[0].output_id
    for narrow in (replace(HOT, top_p=1e-6), replace(HOT, temperature=1e-40)):
        assert generate(model, prompts, narrow)[0].output_id == greedy


def test_a_row_draws_from_its_seed_whatever_its_batch(tiny_model):
    """Alone, in batches of any order, and joining others at any step."""
    model, preprocess = tiny_model()
    prompts = golden_prompts(model, preprocess, 4)
    samplings = [replace(HOT, seed=seed, max_new_tokens=6) for seed in (7, 8, 9, 10)]
    alone = [generate(model, [prompt], sampling)[0] for prompt, sampling in zip(prompts, samplings, strict=True)]
    for order in ([0, 1, 2, 3], [2, 0, 3], [3, 1]):
        answers = generate(model, [prompts[row] for row in order], [samplings[row] for row in order])
        for row, answer in zip(order, answers, strict=True):
            assert (answer.output_id, answer.text) == (alone[row].output_id, alone[row].text)
    session, got = Session(model), {}
    for step in range(10):
        if step < 4:
            session.join({step: (prompts[step], samplings[step])})
        got |= {row.key: row.answer.output_id for row in session.step()}
    assert got == {row: answer.output_id for row, answer in enumerate(alone)}


def test_an_answer_says_why_it_ended(tiny_model):
    model, preprocess = tiny_model()
    (prompt,) = golden_prompts(model, preprocess, 1)
    (whole,) = generate(model, [prompt], Sampling(max_new_tokens=400))
    assert whole.finish_reason == "stop"
    count = len(whole.output_id)
    limits = [Sampling(max_new_tokens=limit) for limit in (count, count - 1, 1)]
    reasons = [answer.finish_reason for answer in generate(model, [prompt] * 3, limits)]
    assert reasons == ["stop", "length", "length"]  # an end that is the last token allowed is an end


def test_a_stop_text_ends_an_answer_before_it(tiny_model):
    model, preprocess = tiny_model()
    (prompt,) = golden_prompts(model, preprocess, 1)
    (whole,) = generate(model, [prompt], GREEDY)
    for stop in (whole.text[3:5], whole.text[1:12], whole.text[2:3]):
        texts = (stop, "never said")
        (answer,) = generate(model, [prompt], replace(GREEDY, stop=texts))
        assert answer.text == whole.text.split(stop)[0].strip()
        assert answer.finish_reason == "stop"
        assert answer.output_id == whole.output_id[: len(answer.output_id)] and len(answer.output_id) < len(
            whole.output_id
        )
    (unstopped,) = generate(model, [prompt], replace(GREEDY, stop=("never said",)))
    assert unstopped == whole


def test_stop_texts_are_not_for_the_question_that_is_asked_again(tiny_model):
    model, preprocess = tiny_model()
    (prompt,) = golden_prompts(model, preprocess, 1)
    (whole,) = generate(model, [prompt], GREEDY)
    sampling = replace(GREEDY, stop=(whole.text[2:4],))
    (answer,) = generate(model, [prompt], sampling, follow_up=lambda row, answer: prompt)
    assert answer.text == whole.text.split(whole.text[2:4])[0].strip()
    assert answer.second.output_id == whole.output_id and answer.second.text == whole.text
