"""Losses by hand-worked numbers, by scipy, and by finite differences; a model learns the labels that it is given."""

import math

import numpy as np
import pytest
import torch
from scipy.special import erf, rel_entr
from scipy.stats import norm

from depictqa.data.opinions import Opinion
from depictqa.data.training import Conversation
from depictqa.model.depictqa import Predictions
from depictqa.prompts import TASKS
from depictqa.training.losses import LOSSES, divergence, fidelity, learn

LEVEL_IDS = [3, 1, 4, 0, 2]  # of excellent, good, fair, poor, bad, among six tokens


class Model:
    """Predicts what it is given."""

    level_ids = LEVEL_IDS

    def __init__(self, logits, counts):
        rows = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
        self.predictions = Predictions(logits, torch.arange(len(rows)) % 6, rows, torch.tensor(counts))

    def __call__(self, conversations) -> Predictions:
        return self.predictions


def conversation(task="quality_score_A_noref", opinion=None) -> Conversation:
    return Conversation(TASKS[task], (), (), opinion)


def test_every_kind_of_answer_has_a_loss():
    assert {task.answer for task in TASKS.values()} == set(LOSSES)


def test_text_is_learned_word_for_word_whatever_its_length():
    """Token losses 1, 2 and 3, of a short and a long answer, and of one that was cut away."""
    logits = torch.full((3, 6), -math.inf)
    for row, loss in enumerate((1.0, 2.0, 3.0)):
        logits[row, row], logits[row, 5] = -loss, math.log(1 - math.exp(-loss))
    output = learn(Model(logits, [1, 2, 0]), [conversation("description")] * 3)
    assert output.sample_losses.tolist() == pytest.approx([1, 2.5, 0])
    assert output.loss.item() == pytest.approx(3.5 / 3)
    assert (output.sample_targets.tolist(), output.sample_correct.tolist()) == ([1, 2, 0], [0, 0, 0])


def test_the_divergence_is_scipys():
    rng = np.random.default_rng(0)
    labels, p = rng.dirichlet(np.ones(5), 3), rng.dirichlet(np.ones(6), 3)[:, :5]  # a sixth token takes its share
    labels[0] = [0, 0.3, 0.7, 0, 0]
    found = divergence(torch.tensor(labels), torch.tensor(p).log())
    assert found.tolist() == pytest.approx(rel_entr(labels, p).sum(1))
    assert divergence(torch.tensor(labels), torch.tensor(labels).clamp(min=1e-30).log()).abs().max() < 1e-12


def test_fidelity_by_hand():
    """Scores 1 apart: P = (1 + erf(1/2)) / 2 = 0.76025. Opinions 1 apart, deviations .6 and .8: G = Phi(1) = 0.84134."""
    loss = 1 - math.sqrt(0.760250 * 0.841345) - math.sqrt(0.239750 * 0.158655)
    found = fidelity(torch.tensor([4.0, 3.0]), [Opinion(3.5, 0.6, "a"), Opinion(2.5, 0.8, "a")])
    assert found.tolist() == pytest.approx([loss, loss], abs=1e-5)
    same = fidelity(torch.tensor([4.0, 3.0]), [Opinion(3.5, 1.0, "a"), Opinion(2.5, 1.0, "a")])
    assert same.abs().max() < 1e-6, "P is G where the deviations are those of the scores"


def test_fidelity_is_the_mean_over_the_pairs_of_a_data_set():
    rng = np.random.default_rng(1)
    scores, means, stds = rng.uniform(1, 5, 5), rng.uniform(1, 5, 5), rng.uniform(0.2, 1, 5)
    names = ["a", "a", "b", "a", "c"]
    opinions = [Opinion(*values) for values in zip(means, stds, names, strict=True)]

    def pair(i: int, j: int) -> float:
        p = 0.5 * (1 + erf((scores[i] - scores[j]) / 2))
        g = norm.cdf((means[i] - means[j]) / math.hypot(stds[i], stds[j]))
        return 1 - math.sqrt(p * g) - math.sqrt((1 - p) * (1 - g))

    found = fidelity(torch.tensor(scores), opinions).tolist()
    expected = {0: (pair(0, 1) + pair(0, 3)) / 2, 1: (pair(1, 0) + pair(1, 3)) / 2, 3: (pair(3, 0) + pair(3, 1)) / 2}
    assert found == pytest.approx([expected.get(i, 0) for i in range(5)], abs=1e-6)
    assert sum(found) / 3 == pytest.approx((pair(0, 1) + pair(0, 3) + pair(1, 3)) / 3, abs=1e-6)


@pytest.mark.parametrize("means, loss", [((3, 3), 0), ((4, 3), 1 - math.sqrt(0.5)), ((1, 5), 1 - math.sqrt(0.5))])
def test_without_deviations_the_order_alone_counts_and_the_gradient_is_finite(means, loss):
    scores = torch.tensor([3.0, 3.0], requires_grad=True)
    found = fidelity(scores, [Opinion(mean, 0.0, "a") for mean in means])
    assert found.tolist() == pytest.approx([loss, loss], abs=1e-6)
    found.sum().backward()
    assert scores.grad.isfinite().all()


def test_the_level_loss_of_a_sample_is_the_sum_of_its_parts():
    """A score of 4.3 without deviation, so 0.3 excellent and 0.7 good; two more tokens; no partner."""
    logits = torch.randn(3, 6, generator=torch.Generator().manual_seed(0))
    p = logits.double().softmax(-1).numpy()
    kl = 0.3 * math.log(0.3 / p[0, 3]) + 0.7 * math.log(0.7 / p[0, 1])
    others = (-math.log(p[1, 1]) - math.log(p[2, 2])) / 2
    output = learn(Model(logits, [3]), [conversation(opinion=Opinion(4.3, 0.0, "a"))])
    assert output.loss.item() == pytest.approx(kl + 0.05 * others, rel=1e-5)


def test_a_batch_may_mix_answers_of_both_kinds():
    """Each sample has the loss that it has among its kind."""
    logits = torch.randn(8, 6, generator=torch.Generator().manual_seed(0))
    opinions = [Opinion(4.3, 0.4, "a"), Opinion(2.0, 0.9, "a")]
    scored, text = [conversation(opinion=opinion) for opinion in opinions], conversation("description")
    mixed = learn(Model(logits, [2, 3, 0, 3]), [scored[0], text, text, scored[1]])
    model = Model(logits, [1])
    model.predictions = Predictions(
        logits[[0, 1, 5, 6, 7]], torch.tensor([0, 1, 5, 0, 1]), torch.tensor([0, 0, 1, 1, 1]), torch.tensor([2, 3])
    )
    levels = learn(model, scored)
    model.predictions = Predictions(logits[2:5], torch.tensor([2, 3, 4]), torch.tensor([0, 0, 0]), torch.tensor([3, 0]))
    texts = learn(model, [text, text])
    expected = [levels.sample_losses[0], *texts.sample_losses, levels.sample_losses[1]]
    torch.testing.assert_close(mixed.sample_losses, torch.stack(expected))


def test_a_scored_sample_that_was_cut_before_its_answer_has_no_loss():
    scored = [conversation(opinion=Opinion(mean, 0.4, name)) for mean, name in ((4.3, "a"), (2.0, "b"))]
    output = learn(Model(torch.randn(2, 6), [2, 0]), scored)
    assert output.sample_losses[1] == 0 and output.sample_losses[0] > 0


def test_gradients_are_those_of_finite_differences():
    logits = torch.randn(7, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    opinions = [Opinion(4.3, 0.6, "a"), Opinion(2.2, 0.0, "a"), Opinion(3.0, 0.7, "b")]
    conversations = [*(conversation(opinion=opinion) for opinion in opinions), conversation("description")]
    counts = [2, 1, 2, 2]
    assert torch.autograd.gradcheck(lambda values: learn(Model(values, counts), conversations).loss, logits, atol=1e-6)


def test_logits_that_are_trained_on_soft_labels_become_them():
    opinions = [Opinion(4.3, 0.6, "a"), Opinion(2.2, 0.5, "a"), Opinion(3.0, 0.7, "a")]
    conversations = [conversation(opinion=opinion) for opinion in opinions]
    logits = torch.zeros(3, 6, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.05)
    for _ in range(600):
        optimizer.zero_grad()
        learn(Model(logits, [1, 1, 1]), conversations).loss.backward()
        optimizer.step()
    p = logits.detach().softmax(-1)[:, LEVEL_IDS]
    torch.testing.assert_close(p, torch.tensor([opinion.label for opinion in opinions]), atol=0.06, rtol=0)
    scores = p @ torch.tensor([5.0, 4, 3, 2, 1])
    assert scores.tolist() == pytest.approx([4.3, 2.2, 3.0], abs=0.12)
