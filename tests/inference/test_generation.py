"""Greedy answers equal the original's; an answer does not depend on its batch."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from conftest import DATA, golden, image_path, load_images
from depictqa.data.images import open_image
from depictqa.inference import sharing
from depictqa.inference.generation import Decoder, Ends, Sampling, _choose, generate
from depictqa.model.fusion import collate
from depictqa.prompts import TASKS

RUNS = {"e2e": "llm_tiny", "e2e_legacy_false": "llm_tiny_bin"}
GREEDY = Sampling(temperature=0, max_new_tokens=24)


def fuse(case, model, preprocess, row=0):
    task = TASKS[case["task_type"]]
    with torch.no_grad():
        embeds = model.embed_images(load_images(preprocess, task, case, row))
    return model.fuse_question(task, embeds, case["query"][row])


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


def prompts_of(model, preprocess, count):
    cases = [case for case in golden("e2e/infer.json") if case["model"] == "base" and len(case["query"]) == 1]
    return [fuse(case, model, preprocess) for case in itertools.islice(cases, count)]


def test_each_row_has_its_own_length_limit(tiny_model):
    model, preprocess = tiny_model()
    prompts = prompts_of(model, preprocess, 2)
    answers = generate(model, prompts, [Sampling(max_new_tokens=3), Sampling(max_new_tokens=5)])
    assert [len(answer.output_id) for answer in answers] == [3, 5]


def test_rows_join_and_leave_a_batch_in_work(tiny_model):
    """Answers are those of `generate`, whenever a row came and whoever was there."""
    model, preprocess = tiny_model()
    prompts = prompts_of(model, preprocess, 5)
    expected = [generate(model, [prompt], GREEDY)[0] for prompt in prompts]
    joins, drops = {0: [0], 2: [1, 2], 3: [3], 9: [4]}, {6: [2]}  # step -> rows; row 4 joins when others have ended
    decoder, got = Decoder(model), [([], []) for _ in prompts]
    for number in range(60):
        if number in joins:
            decoder.join(decoder.prefill({row: (prompts[row], GREEDY) for row in joins[number]}))
        decoder.drop(drops.get(number, ()))
        for token in decoder.step():
            got[token.row][0].append(token.id)
            got[token.row][1].append(token.prob)
    assert len(decoder) == 0 and decoder.step() == []
    for row, (answer, (ids, probs)) in enumerate(zip(expected, got, strict=True)):
        count = 4 if row == 2 else len(answer.output_id)
        assert ids == answer.output_id[:count]
        np.testing.assert_allclose(probs, answer.prob[:count], atol=1e-4)


@pytest.mark.parametrize("least_saved", [0, 10**9])
def test_what_prompts_have_in_common_is_read_once(tiny_model, monkeypatch, least_saved):
    """Pairs of a vote, sorted by reference and Image A: answers are those of each alone, and far fewer tokens are read."""
    model, preprocess = tiny_model()
    monkeypatch.setattr(sharing, "LEAST_SAVED", least_saved)
    task = TASKS["quality_compare"]
    names = ("s01_70x70.png", "s10_84x84.png", "s06_33x47.png", "s14_gray_2100x75.png")
    ref, *others = [model.embed_images([preprocess(open_image(image_path(name)))])[0] for name in names]
    pairs = [
        (ref, others[0], others[1]),
        (ref, others[0], others[2]),
        (ref, others[1], others[2]),
        (others[0], ref, ref),
    ]
    prompts = [model.fuse_question(task, pair, "Which image is better?") for pair in pairs]
    expected = [generate(model, [prompt], GREEDY)[0] for prompt in prompts]
    read, forward = [], Decoder._forward

    def counted(decoder, fused, *past):
        read.append(sum(map(len, fused)))
        return forward(decoder, fused, *past)

    monkeypatch.setattr(Decoder, "_forward", counted)
    memory = {}
    for _ in range(2):
        read.clear()
        answers = generate(model, prompts, GREEDY, read=memory)
        for answer, alone in zip(answers, expected, strict=True):
            assert answer.output_id == alone.output_id
            np.testing.assert_allclose(answer.prob, alone.prob, atol=1e-4)
    text = len(prompts[0].segments[0]) + len(prompts[0].segments[1])  # remembered from the first time
    of_images = sum(map(len, prompts)) - 4 * text
    if least_saved:
        assert sum(read) == of_images
    else:
        twice, once = (
            prompts[0].segments[2:4],
            prompts[0].segments[4:6],
        )  # reference of three pairs, Image A of two of them
        assert sum(read) == of_images - 2 * sum(map(len, twice)) - sum(map(len, once))
    assert len(memory) == 1


def test_of_a_follow_up_only_what_is_new_is_read(tiny_model, monkeypatch):
    """Rows end at different steps, in batches with padding at the left and within; some are asked a second time."""
    model, preprocess = tiny_model()
    cases = [case for case in golden("e2e/infer.json") if case["model"] == "base" and len(case["query"]) == 1][:6]
    longer = [case | {"query": [case["query"][0] + " In a word?"]} for case in cases]
    prompts, follow_ups = ([fuse(case, model, preprocess) for case in some] for some in (cases, longer))
    images = [[part for part in prompt.segments if isinstance(part, torch.Tensor)] for prompt in prompts]
    for prompt, embeds in zip(follow_ups, images, strict=True):  # pictures of a row stay the same tensors
        parts = iter(embeds)
        prompt.segments = [next(parts) if isinstance(part, torch.Tensor) else part for part in prompt.segments]
    samplings = [Sampling(max_new_tokens=4 + 5 * (row % 3)) for row in range(6)]
    asked = {0, 2, 3, 5}
    firsts, seconds = ([generate(model, [p], s)[0] for p, s in zip(some, samplings)] for some in (prompts, follow_ups))
    read, forward = [], Decoder._forward

    def counted(decoder, fused, *past):
        read.extend(map(len, fused))
        return forward(decoder, fused, *past)

    monkeypatch.setattr(Decoder, "_forward", counted)
    answers = generate(
        model, prompts, samplings, follow_up=lambda row, answer: follow_ups[row] if row in asked else None
    )
    for row, (answer, first, second) in enumerate(zip(answers, firsts, seconds, strict=True)):
        assert answer.output_id == first.output_id and (answer.second is not None) == (row in asked)
        np.testing.assert_allclose(answer.prob, first.prob, atol=1e-4)
        if answer.second:
            assert answer.second.output_id == second.output_id and answer.second.text == second.text
            np.testing.assert_allclose(answer.second.prob, second.prob, atol=1e-4)
    new = [len(fused) - sharing.shared_tokens(prompt, fused) for prompt, fused in zip(prompts, follow_ups, strict=True)]
    assert sorted(read)[:4] == sorted(new[row] for row in asked) and max(new) < 30


def test_long_prompts_are_read_in_several_passes(tiny_model, monkeypatch):
    model, preprocess = tiny_model()
    prompts = prompts_of(model, preprocess, 5)
    expected = generate(model, prompts, GREEDY)
    sizes, forward = [], Decoder._forward

    def measured(decoder, fused, *past):
        sizes.append((len(fused), len(fused) * max(map(len, fused))))
        return forward(decoder, fused, *past)

    monkeypatch.setattr(Decoder, "_forward", measured)
    monkeypatch.setattr(sharing, "MOST_TOKENS", 300)
    for answer, whole in zip(generate(model, prompts, GREEDY), expected, strict=True):
        assert answer.output_id == whole.output_id
        np.testing.assert_allclose(answer.prob, whole.prob, atol=1e-4)
    assert len(sizes) > 2 and all(rows == 1 or tokens <= 300 for rows, tokens in sizes)


def test_the_last_token_of_a_row_is_told(tiny_model):
    model, preprocess = tiny_model()
    (prompt,) = prompts_of(model, preprocess, 1)
    decoder = Decoder(model)
    decoder.join(
        decoder.prefill({"a": (prompt, Sampling(max_new_tokens=3)), "b": (prompt, Sampling(max_new_tokens=1))})
    )
    steps = [decoder.step() for _ in range(4)]
    assert [[(token.row, token.is_last) for token in step] for step in steps] == [
        [("a", False), ("b", True)],
        [("a", False)],
        [("a", True)],
        [],
    ]


HOT = Sampling(temperature=1.5, top_p=0.95, max_new_tokens=12)


def test_sampling_is_seeded_and_keeps_to_the_nucleus(tiny_model):
    model, preprocess = tiny_model()
    prompts = prompts_of(model, preprocess, 1)
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
    prompts = prompts_of(model, preprocess, 4)
    samplings = [replace(HOT, seed=seed, max_new_tokens=6) for seed in (7, 8, 9, 10)]
    alone = [generate(model, [prompt], sampling)[0] for prompt, sampling in zip(prompts, samplings, strict=True)]
    for order in ([0, 1, 2, 3], [2, 0, 3], [3, 1]):
        answers = generate(model, [prompts[row] for row in order], [samplings[row] for row in order])
        for row, answer in zip(order, answers, strict=True):
            assert (answer.output_id, answer.text) == (alone[row].output_id, alone[row].text)
    decoder, got = Decoder(model), {row: [] for row in range(4)}
    for step in range(10):
        if step < 4:
            decoder.join(decoder.prefill({step: (prompts[step], samplings[step])}))
        for token in decoder.step():
            got[token.row].append(token.id)
    assert got == {row: answer.output_id for row, answer in enumerate(alone)}


def test_draws_have_the_models_distribution():
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0]]).expand(1000, -1)
    samplings = [Sampling(temperature=1.0, top_p=0.9, seed=seed) for seed in range(1000)]
    shares = torch.bincount(_choose(logits, samplings, [0] * 1000), minlength=4) / 1000
    nucleus = logits[0, :3].softmax(-1)  # the first three hold over 0.9, the first two do not
    torch.testing.assert_close(shares, torch.cat([nucleus, torch.zeros(1)]), atol=0.05, rtol=0)
    again = [_choose(logits[:1], samplings[:1], [step]).item() for step in range(50)]
    assert len(set(again)) > 1  # each step draws anew


def test_an_answer_says_why_it_ended(tiny_model):
    model, preprocess = tiny_model()
    (prompt,) = prompts_of(model, preprocess, 1)
    (whole,) = generate(model, [prompt], Sampling(max_new_tokens=400))
    assert whole.finish_reason == "stop"
    count = len(whole.output_id)
    limits = [Sampling(max_new_tokens=limit) for limit in (count, count - 1, 1)]
    reasons = [answer.finish_reason for answer in generate(model, [prompt] * 3, limits)]
    assert reasons == ["stop", "length", "length"]  # an end that is the last token allowed is an end


def test_a_stop_text_ends_an_answer_before_it(tiny_model):
    model, preprocess = tiny_model()
    (prompt,) = prompts_of(model, preprocess, 1)
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
    (prompt,) = prompts_of(model, preprocess, 1)
    (whole,) = generate(model, [prompt], GREEDY)
    sampling = replace(GREEDY, stop=(whole.text[2:4],))
    (answer,) = generate(model, [prompt], sampling, follow_up=lambda row, answer: prompt)
    assert answer.text == whole.text.split(whole.text[2:4])[0].strip()
    assert answer.second.output_id == whole.output_id and answer.second.text == whole.text


def test_a_separator_of_several_tokens_ends_the_answer_as_text(tiny_model):
    model, _ = tiny_model(conv_type="vicuna_v0")
    ends = Ends(model.tokenizer, "###")
    ids = model.tokenizer.encode("Blur\n ###")
    assert ends.finish_reason(ids, GREEDY) == "stop" and ends.finish_reason(ids[:-1], GREEDY) is None
    assert ends.text_of(ids) == "Blur"


@pytest.mark.parametrize("stop", ["good enough", "né", "é", "###", "e photo\nis"])
def test_of_an_answer_in_work_nothing_is_shown_that_may_be_its_end(stop, tiny_model):
    model, _ = tiny_model(conv_type="vicuna_v0")
    ends = Ends(model.tokenizer, "###")
    ids = model.tokenizer.encode("The photo\nis née good enough, né? ###")
    length = next(n for n in range(1, len(ids) + 1) if ends.finish_reason(ids[:n], Sampling(stop=(stop,))))
    whole = ends.text_of(ids[:length], (stop,))
    assert whole == "The photo\nis née good enough, né? ###".split(stop)[0].strip()
    shown = [ends.text_of(ids[:n], (stop,), is_whole=False) for n in range(1, length)]
    assert all(whole.startswith(text) for text in shown)
    assert all(later.startswith(earlier) for earlier, later in zip(shown, shown[1:], strict=False))
