"""Rows join, are asked again and leave at any step, and each has the answer that it has alone."""

import numpy as np
import pytest
import torch

from conftest import image_path
from depictqa.data.images import open_image
from depictqa.inference import session as module
from depictqa.inference import sharing
from depictqa.inference.generation import generate
from depictqa.inference.sampling import Sampling
from depictqa.inference.session import Session
from depictqa.prompts import TASKS
from inference.questions import GREEDY, fuse, golden_cases, golden_prompts


@pytest.fixture
def passes(monkeypatch) -> list[list[int]]:
    """The tokens that each row gets in each forward pass."""
    found, forward = [], Session._forward

    def counted(session, rows, parts):
        found.append(list(map(len, parts)))
        return forward(session, rows, parts)

    monkeypatch.setattr(Session, "_forward", counted)
    return found


def assert_same(answer, alone) -> None:
    assert (answer.output_id, answer.text) == (alone.output_id, alone.text)
    np.testing.assert_allclose(answer.prob, alone.prob, atol=1e-4)


def test_rows_join_and_leave_at_any_step(tiny_model):
    """Answers are those of `generate`, whenever a row came and whoever was there."""
    model, preprocess = tiny_model()
    prompts = golden_prompts(model, preprocess, 5)
    expected = [generate(model, [prompt], GREEDY)[0] for prompt in prompts]
    joins, leaves = {0: [0], 2: [1, 2], 3: [3], 9: [4]}, {6: [2]}  # row 4 joins when others have ended
    session, rows = Session(model), {}
    for number in range(60):
        if number in joins:
            session.join({row: (prompts[row], GREEDY) for row in joins[number]})
        session.leave(leaves.get(number, ()))
        rows |= {row.key: row for row in session.step()}
    assert len(session) == 0 and session.step() == []
    for key, alone in enumerate(expected):
        answer = rows[key].answer
        if key == 2:
            assert answer.output_id == alone.output_id[:4] and answer.finish_reason is None
        else:
            assert_same(answer, alone)


def test_an_ended_row_leaves_with_the_next_step(tiny_model):
    model, preprocess = tiny_model()
    (prompt,) = golden_prompts(model, preprocess, 1)
    session = Session(model)
    session.join({"a": (prompt, Sampling(max_new_tokens=3)), "b": (prompt, Sampling(max_new_tokens=1))})
    steps = [[(row.key, row.has_ended) for row in session.step()] for _ in range(4)]
    assert steps == [[("a", False), ("b", True)], [("a", False)], [("a", True)], []]


def test_an_idle_session_holds_no_memory(tiny_model):
    model, preprocess = tiny_model()
    (prompt,) = golden_prompts(model, preprocess, 1)
    session = Session(model)
    session.join({"a": (prompt, GREEDY), "b": (prompt, GREEDY)})
    session.leave(["b", "nobody"])
    assert "a" in session and "b" not in session and session._cache.layers
    session.leave(["a"])
    assert len(session) == 0 and not session._cache.layers


@pytest.mark.parametrize("least_saved", [0, 10**9])
def test_what_prompts_have_in_common_is_read_once(tiny_model, monkeypatch, passes, least_saved):
    """Pairs of a vote, sorted by reference and Image A: answers are those of each alone, and far fewer tokens are read."""
    model, preprocess = tiny_model()
    monkeypatch.setattr(sharing, "LEAST_SAVED", least_saved)
    task = TASKS["quality_compare"]
    names = ("s01_70x70.png", "s10_84x84.png", "s06_33x47.png", "s14_gray_2100x75.png")
    ref, *others = [model.embed_images([preprocess(open_image(image_path(name)))])[0] for name in names]
    pairs = [(ref, others[0], others[1]), (ref, others[0], others[2]), (ref, others[1], others[2])]
    pairs.append((others[0], ref, ref))
    prompts = [model.fuse_question(task, pair, "Which image is better?") for pair in pairs]
    expected = [generate(model, [prompt], GREEDY)[0] for prompt in prompts]
    prefix_cache = {}
    for _ in range(2):
        passes.clear()
        for answer, alone in zip(generate(model, prompts, GREEDY, prefix_cache), expected, strict=True):
            assert_same(answer, alone)
    decoded = sum(len(answer.output_id) - 1 for answer in expected)
    text = len(prompts[0].segments[0]) + len(prompts[0].segments[1])  # remembered from the first time
    images = sum(map(len, prompts)) - 4 * text
    if least_saved == 0:  # the reference of three pairs, Image A of two of them
        reference, image_a = prompts[0].segments[2:4], prompts[0].segments[4:6]
        images -= 2 * sum(map(len, reference)) + sum(map(len, image_a))
    assert sum(map(sum, passes)) == images + decoded
    assert len(prefix_cache) == 1


def test_only_what_is_new_in_a_follow_up_is_read(tiny_model, passes):
    """Rows end at different steps; some are asked a second time, while others go on."""
    model, preprocess = tiny_model()
    cases = golden_cases(6)
    longer = [case | {"query": [case["query"][0] + " In a word?"]} for case in cases]
    prompts, follow_ups = ([fuse(case, model, preprocess) for case in some] for some in (cases, longer))
    for prompt, follow_up in zip(prompts, follow_ups, strict=True):  # a row's images stay the same tensors
        images = (part for part in prompt.segments if isinstance(part, torch.Tensor))
        follow_up.segments = [next(images) if isinstance(part, torch.Tensor) else part for part in follow_up.segments]
    samplings = [Sampling(max_new_tokens=4 + 5 * (row % 3)) for row in range(6)]
    asked = {0, 2, 3, 5}
    firsts, seconds = ([generate(model, [p], s)[0] for p, s in zip(some, samplings)] for some in (prompts, follow_ups))
    passes.clear()
    answers = generate(
        model, prompts, samplings, follow_up=lambda row, answer: follow_ups[row] if row in asked else None
    )
    for row, (answer, first, second) in enumerate(zip(answers, firsts, seconds, strict=True)):
        assert_same(answer, first)
        assert (answer.second is not None) == (row in asked)
        if answer.second:
            assert_same(answer.second, second)
    new = [len(fused) - sharing.shared_tokens(prompt, fused) for prompt, fused in zip(prompts, follow_ups, strict=True)]
    read = [count for some in passes for count in some if count > 1]
    assert sorted(read)[:4] == sorted(new[row] for row in asked) and max(new) < 30


def test_long_prompts_are_read_in_several_passes(tiny_model, monkeypatch, passes):
    model, preprocess = tiny_model()
    prompts = golden_prompts(model, preprocess, 5)
    expected = generate(model, prompts, GREEDY)
    passes.clear()
    monkeypatch.setattr(sharing, "MOST_TOKENS", 300)
    for answer, whole in zip(generate(model, prompts, GREEDY), expected, strict=True):
        assert_same(answer, whole)
    assert len([some for some in passes if max(some) > 1]) > 2
    assert all(len(some) == 1 or len(some) * max(some) <= 300 for some in passes)


def failing_on(monkeypatch, keys: set) -> None:
    """A pass through the model with one of these rows fails, as it does when memory is out."""
    forward = Session._forward

    def failing(session, rows, parts):
        if any(row.key in keys for row in rows):
            raise torch.OutOfMemoryError("out of memory")
        return forward(session, rows, parts)

    monkeypatch.setattr(Session, "_forward", failing)


def test_a_prompt_that_cannot_be_read_costs_no_row_in_work(tiny_model, monkeypatch):
    model, preprocess = tiny_model()
    first, second, third = golden_prompts(model, preprocess, 3)
    expected = [generate(model, [prompt], GREEDY)[0] for prompt in (first, third)]
    session = Session(model)
    session.join({"first": (first, GREEDY)})
    session.step()
    with monkeypatch.context() as patch:
        failing_on(patch, {"second"})
        with pytest.raises(torch.OutOfMemoryError):
            session.join({"second": (second, GREEDY)})
    assert "first" in session and "second" not in session
    session.join({"third": (third, GREEDY)})
    rows = {}
    while step := session.step():
        rows |= {row.key: row for row in step}
    for key, alone in zip(("first", "third"), expected, strict=True):
        assert_same(rows[key].answer, alone)


def test_a_follow_up_that_cannot_be_read_costs_its_row_only(tiny_model, monkeypatch):
    model, preprocess = tiny_model()
    prompt, follow_up, other = golden_prompts(model, preprocess, 3)
    expected = generate(model, [other], GREEDY)[0]
    session = Session(model)
    session.join({"asked": (prompt, Sampling(max_new_tokens=1)), "other": (other, GREEDY)})
    _, row = session.step()
    session.follow_up("asked", follow_up)
    with monkeypatch.context() as patch:
        failing_on(patch, {"asked"})
        with pytest.raises(torch.OutOfMemoryError):
            session.step()
    assert "asked" not in session and "other" in session
    while session.step():
        pass
    assert_same(row.answer, expected)


def test_a_failed_step_costs_all_rows_that_were_in_it(tiny_model, monkeypatch):
    model, preprocess = tiny_model()
    prompts = golden_prompts(model, preprocess, 2)
    session = Session(model)
    session.join(dict(enumerate((prompt, GREEDY) for prompt in prompts)))
    with monkeypatch.context() as patch:
        patch.setattr(module, "choose", lambda *_: (_ for _ in ()).throw(RuntimeError("a kernel failed")))
        with pytest.raises(RuntimeError):
            session.step()
    assert len(session) == 0 and session.step() == []
