"""Draws follow the model's distribution; an answer ends at its end token, its separator or a stop text."""

import pytest
import torch

from depictqa.inference.sampling import Sampling, StopCriteria, choose
from inference.questions import GREEDY


def test_draws_have_the_models_distribution():
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0]]).expand(1000, -1)
    samplings = [Sampling(temperature=1.0, top_p=0.9, seed=seed) for seed in range(1000)]
    shares = torch.bincount(choose(logits, samplings, [0] * 1000), minlength=4) / 1000
    nucleus = logits[0, :3].softmax(-1)  # the first three hold over 0.9, the first two do not
    torch.testing.assert_close(shares, torch.cat([nucleus, torch.zeros(1)]), atol=0.05, rtol=0)
    again = [choose(logits[:1], samplings[:1], [step]).item() for step in range(50)]
    assert len(set(again)) > 1  # each step draws anew


def test_a_separator_of_several_tokens_ends_the_answer_as_text(tiny_model):
    model, _ = tiny_model(conv_type="vicuna_v0")
    criteria = StopCriteria(model.tokenizer, "###")
    ids = model.tokenizer.encode("Blur\n ###")
    assert criteria.finish_reason(ids, GREEDY) == "stop" and criteria.finish_reason(ids[:-1], GREEDY) is None
    assert criteria.text_of(ids) == "Blur"


@pytest.mark.parametrize("stop", ["good enough", "né", "é", "###", "e photo\nis"])
def test_a_growing_answer_never_shows_the_start_of_its_end(stop, tiny_model):
    model, _ = tiny_model(conv_type="vicuna_v0")
    criteria = StopCriteria(model.tokenizer, "###")
    ids = model.tokenizer.encode("The photo\nis née good enough, né? ###")
    length = next(n for n in range(1, len(ids) + 1) if criteria.finish_reason(ids[:n], Sampling(stop=(stop,))))
    whole = criteria.text_of(ids[:length], (stop,))
    assert whole == "The photo\nis née good enough, né? ###".split(stop)[0].strip()
    shown = [criteria.text_of(ids[:n], (stop,), is_whole=False) for n in range(1, length)]
    assert all(whole.startswith(text) for text in shown)
    assert all(later.startswith(earlier) for earlier, later in zip(shown, shown[1:], strict=False))
