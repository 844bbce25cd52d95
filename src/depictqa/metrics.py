"""DepictQA as a metric among others: a `torch.nn.Module` that gives a batch of images its scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from depictqa.errors import InputError

if TYPE_CHECKING:
    from depictqa.api import Model
    from depictqa.data.images import Source


class Metric(torch.nn.Module):
    """Scores from 1 (bad) to 5 (excellent); see `depictqa.metric`.

    Attributes:
        lower_better, score_range, metric_mode: named and written as in pyiqa.
    """

    lower_better = False
    score_range = "1, 5"

    def __init__(self, model: Model, reference: bool):
        super().__init__()
        self.model = model
        self.metric_mode = "FR" if reference else "NR"

    def forward(
        self, img: torch.Tensor | Source | Sequence[Source], ref: torch.Tensor | Source | Sequence[Source] | None = None
    ) -> torch.Tensor:
        """Scores [N], float32, on the model's device.

        Args:
            img: float [N, 3, H, W] or [3, H, W] in [0, 1]; or an image of any kind that `dq.score` takes; or a list of N.
            ref: as many references, or one for all.

        Raises:
            InputError: a reference is missing, not wanted, or their number does not fit.
        """
        images, references = _listed(img), [] if ref is None else _listed(ref)
        if self.metric_mode == "NR" and references:
            raise InputError("metric: expected no reference, found one; make it with reference=True")
        if self.metric_mode == "FR" and len(references) not in (1, len(images)):
            raise InputError(f"metric: expected 1 or {len(images)} references, found {len(references)}")
        if len(references) <= 1:
            scores = self.model.score(images, references[0] if references else None)
        else:
            scores = [self.model.score(*pair) for pair in zip(images, references, strict=True)]
        return torch.tensor([score.score for score in scores], device=self.model.assessor.model.device)


def _listed(images) -> list[Source]:
    if isinstance(images, torch.Tensor) and images.ndim == 4:
        return list(images.detach().cpu())
    return list(images) if isinstance(images, list | tuple) else [images]
