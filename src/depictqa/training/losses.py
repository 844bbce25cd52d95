"""What is minimised: from the predictions of a batch to the loss of each sample, by the kind of its task's answer.

A batch's loss is the mean over its samples, so that long answers weigh no more than short ones. A new kind of answer is
a row of LOSSES.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch.nn import functional as F

from depictqa.data.opinions import Opinion
from depictqa.data.training import Conversation
from depictqa.model.depictqa import DepictQA, Predictions
from depictqa.prompts import LEVELS

OTHER_TOKENS = 0.05  # weight of what follows a level in its answer


class TrainingOutput(NamedTuple):
    loss: torch.Tensor  # scalar: mean over samples
    sample_losses: torch.Tensor  # [B], detached like all below
    sample_correct: torch.Tensor  # [B]: targets predicted right
    sample_targets: torch.Tensor  # [B]: number of targets

    @property
    def correct(self) -> torch.Tensor:
        return self.sample_correct.sum()

    @property
    def targets(self) -> torch.Tensor:
        return self.sample_targets.sum()


def learn(model: DepictQA, conversations: Sequence[Conversation]) -> TrainingOutput:
    """Predict the answers of a batch and compare.

    Args:
        model: or DeepSpeed's engine around it, which passes its attributes on.
    """
    predictions: Predictions = model(conversations)
    losses = predictions.logits.new_zeros(len(conversations))  # [B]
    for answer, loss in LOSSES.items():
        samples = [i for i, conversation in enumerate(conversations) if conversation.task.answer == answer]
        if samples:
            chosen = [conversations[i] for i in samples]
            index = torch.tensor(samples).to(losses.device, non_blocking=True)
            losses = losses.index_copy(0, index, loss(_of(samples, predictions, index), chosen, model))
    hits = (predictions.logits.argmax(-1) == predictions.targets).long()
    return TrainingOutput(
        loss=losses.mean(),
        sample_losses=losses.detach(),
        sample_correct=torch.zeros_like(predictions.counts).index_add(0, predictions.rows, hits),
        sample_targets=predictions.counts,
    )


def _of(samples: Sequence[int], predictions: Predictions, index: torch.Tensor) -> Predictions:
    """The predictions of some samples, which are numbered anew."""
    if len(samples) == len(predictions.counts):
        return predictions
    rows = (predictions.rows[:, None] == index).nonzero()  # [T', 2]: target, place in `samples`
    of_targets = rows[:, 0]
    return Predictions(
        predictions.logits[of_targets], predictions.targets[of_targets], rows[:, 1], predictions.counts[index]
    )


def text_losses(predictions: Predictions, conversations: Sequence[Conversation], model: DepictQA) -> torch.Tensor:
    """Cross-entropy, the mean over each sample's targets: [B]."""
    logits, targets, rows, counts = predictions
    losses = F.cross_entropy(logits, targets, reduction="none")  # [T]
    sums = losses.new_zeros(len(counts)).index_add(0, rows, losses)  # [B]
    return sums / counts.clamp(min=1)  # a prompt cut before its answer has no target


def level_losses(predictions: Predictions, conversations: Sequence[Conversation], model: DepictQA) -> torch.Tensor:
    """DeQA-Score's losses (CVPR 2025): [B].

    The divergence of the level token's distribution from the soft label, the cross-entropy of the tokens behind it, and
    the fidelity of the sample's pairs with the others of its data set in this batch.
    """
    opinions = [
        conversation.opinion for conversation in conversations if conversation.opinion is not None
    ]  # all have one
    logits, targets, rows, counts = predictions
    first = (counts.cumsum(0) - counts).clamp(max=len(targets) - 1)  # [B]: the level's place among the targets
    labels = torch.tensor([opinion.label for opinion in opinions]).to(logits.device, non_blocking=True)  # [B, 5]
    log_p = logits[first].log_softmax(-1)[:, model.level_ids]  # [B, 5]
    weights = torch.tensor(list(LEVELS.values())).to(log_p)
    scores = log_p.softmax(-1) @ weights  # [B]
    token_losses = F.cross_entropy(logits, targets, reduction="none").index_fill(0, first, 0)  # [T]
    others = token_losses.new_zeros(len(counts)).index_add(0, rows, token_losses) / (counts - 1).clamp(min=1)
    losses = divergence(labels, log_p) + OTHER_TOKENS * others + fidelity(scores, opinions)
    return losses * (counts > 0)  # a prompt cut before its answer has no target


def divergence(labels: torch.Tensor, log_p: torch.Tensor) -> torch.Tensor:
    """Kullback-Leibler divergence of log-probabilities [B, L] from labels [B, L]: [B]."""
    return (torch.xlogy(labels, labels) - labels * log_p).sum(-1)


def fidelity(scores: torch.Tensor, opinions: Sequence[Opinion]) -> torch.Tensor:
    """How well the order of the scores is that of the opinions: for each sample the mean over its pairs, [B].

    A pair's loss is 1 - sqrt(P G) - sqrt((1 - P)(1 - G)) (Tsai et al., FRank, 2007), where P is the probability that
    one picture is better by the scores (each with a variance of 1), G the same by the opinions (Thurstone, 1927). Pairs
    are of one data set. For a batch of one data set, the mean is the mean over all pairs.

    Args:
        scores: [B], on the scale of LEVELS.
    """
    device = scores.device
    mean, std = torch.tensor([(o.mean, o.std) for o in opinions]).to(device, non_blocking=True).unbind(1)  # [B] each
    names = [opinion.dataset for opinion in opinions]
    partners = torch.tensor([[a == b and i != j for j, b in enumerate(names)] for i, a in enumerate(names)]).to(device)
    p = 0.5 * (1 + torch.erf((scores[:, None] - scores) / 2))  # [B, B]: row better than column
    spread = (2 * (std[:, None] ** 2 + std**2)).sqrt().clamp(min=1e-6)  # without deviations, G is 0, 1/2 or 1
    g = 0.5 * (1 + torch.erf((mean[:, None] - mean) / spread))
    losses = 1 - p.sqrt() * g.sqrt() - (1 - p).sqrt() * (1 - g).sqrt()  # roots apart: G may be 0, which has no slope
    return (losses * partners).sum(1) / partners.sum(1).clamp(min=1)


LOSSES: dict[str, Callable[[Predictions, Sequence[Conversation], DepictQA], torch.Tensor]] = {  # by `Task.answer`
    "text": text_losses,
    "level": level_losses,
}
