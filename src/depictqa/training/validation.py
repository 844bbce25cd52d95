"""Validation between updates: the losses and accuracies of a held-out set, no dropout, pictures whole."""

from dataclasses import dataclass

import torch
from torch import distributed

from depictqa.data.training import TrainingSet, load_batches
from depictqa.training.tally import Tally, losses_and_accuracies


@dataclass(frozen=True)
class Validation:
    """What is validated on, and how often; `every_micro_steps` of training lie between two times."""

    data: TrainingSet
    every_micro_steps: int
    batch_size: int
    num_workers: int

    def is_due(self, done: int, before: int, last: bool) -> bool:
        """Whether to validate after `done` micro steps; the update before ended at `before`."""
        return last or done // self.every_micro_steps > before // self.every_micro_steps

    @torch.no_grad()
    def run(self, engine) -> dict[str, float]:
        """Metrics over the whole set: `loss`, `acc`, `exact`, and each of them per task. Every rank calls this."""
        engine.eval()
        tally = Tally(engine.device)
        pin_memory = engine.device.type == "cuda"
        for number, batch in enumerate(load_batches(self.data, self._mine(), self.num_workers, pin_memory)):
            output = engine(batch.to(engine.device).conversations)
            if self._first(number) < len(self.data):
                tally.add(batch.tasks, output)
        engine.train()
        overall, per_task = losses_and_accuracies(tally.reduce())
        return overall | {f"{key}/{task}": value for task, means in per_task.items() for key, value in means.items()}

    def _first(self, number: int) -> int:
        """Index of the first sample of this rank's batch `number`."""
        return (number * distributed.get_world_size() + distributed.get_rank()) * self.batch_size

    def _mine(self) -> list[list[tuple[int, int]]]:
        """This rank's batches: as many as every other rank's, as ZeRO 3 needs it; one too many is not counted."""
        count = -(-len(self.data) // (self.batch_size * distributed.get_world_size()))
        firsts = [self._first(number) for number in range(count)]
        everything = range(len(self.data))
        return [[(0, index) for index in everything[first : first + self.batch_size] or (0,)] for first in firsts]
