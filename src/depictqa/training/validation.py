"""Validation between updates: the losses and accuracies of a held-out set, no dropout, pictures whole; where asked for,
the answers that the model generates, scored as the evaluation scores them."""

from dataclasses import dataclass

import torch
from torch import distributed

from depictqa.data.training import Conversation, TrainingSet, load_batches
from depictqa.evaluation.accuracy import evaluate
from depictqa.inference.generation import generate
from depictqa.inference.sampling import Sampling
from depictqa.model.depictqa import DepictQA
from depictqa.training.broken import BrokenSamples
from depictqa.training.losses import learn
from depictqa.training.tally import Tally, losses_and_accuracies


@dataclass(frozen=True)
class Validation:
    """What is validated on, and how often; `every_micro_steps` of training lie between two times.

    Attributes:
        metric: None, or a task of `evaluation.accuracy`: the first question of each conversation is answered, by at
            most `max_new_tokens`, and the answer scored.
    """

    data: TrainingSet
    every_micro_steps: int
    batch_size: int
    num_workers: int
    broken: BrokenSamples
    metric: str | None = None
    max_new_tokens: int = 0

    def is_due(self, done: int, before: int, last: bool) -> bool:
        """Whether to validate after `done` micro steps; the update before ended at `before`."""
        return last or done // self.every_micro_steps > before // self.every_micro_steps

    @torch.no_grad()
    def run(self, engine, step: int) -> dict[str, float | None]:
        """Metrics over the samples that can be read: `loss`, `acc`, `exact`, where asked for `generated`, and each of
        them per task; `broken` counts the others. Every rank calls this.

        Raises:
            InputError: more samples are broken than `train.max_broken` allows.
        """
        engine.eval()
        tally, answers, left_out = Tally(engine.device), {}, []
        pin_memory = engine.device.type == "cuda"
        for number, batch in enumerate(load_batches(self.data, self._mine(), self.num_workers, pin_memory)):
            batch = batch.to(engine.device)
            output = learn(engine, batch.conversations)
            if self._first(number) >= len(self.data):
                continue
            left_out += batch.broken
            if batch.ids:
                tally.add(batch.tasks, output)
                if self.metric is not None:
                    answers |= zip(batch.indices, self._answer(engine.module, batch.conversations), strict=True)
        engine.train()
        sums, _, broken = tally.reduce(broken=len(left_out))
        if broken:
            self.broken.note(step, left_out)
        overall, per_task = losses_and_accuracies(sums)
        per_task = {f"{key}/{task}": value for task, means in per_task.items() for key, value in means.items()}
        return (
            overall
            | {"broken": broken}
            | per_task
            | (self._score(answers, self.metric) if self.metric is not None else {})
        )

    def _answer(self, model: DepictQA, conversations: list[Conversation]) -> list[str]:
        embeds = iter(model.embed_images([image for c in conversations for image in c.images]))
        prompts = [model.fuse_question(c.task, [next(embeds) for _ in c.images], c.turns[0][0]) for c in conversations]
        return [answer.text for answer in generate(model, prompts, Sampling(max_new_tokens=self.max_new_tokens))]

    def _score(self, answers: dict[int, str], metric: str) -> dict[str, float | None]:
        """The evaluation's accuracy of all ranks' answers, by index."""
        everyones: list[dict[int, str]] = [{} for _ in range(distributed.get_world_size())]
        distributed.all_gather_object(everyones, answers)
        predictions = [{"id": index, "text": text} for some in everyones for index, text in some.items()]
        items = ((row["id"], self.data.items[row["id"]]) for row in sorted(predictions, key=lambda row: row["id"]))
        truths = [{"id": index, "answer": item.turns[0][1], "task": item.task.name} for index, item in items]
        if not truths:
            return {"generated": None}
        accuracy = evaluate(metric, predictions, truths)
        per_task = {f"generated/{task}": part.accuracy for task, part in accuracy.by("task").items()}
        return {"generated": accuracy.accuracy} | per_task

    def _first(self, number: int) -> int:
        """Index of the first sample of this rank's batch `number`."""
        return (number * distributed.get_world_size() + distributed.get_rank()) * self.batch_size

    def _mine(self) -> list[list[tuple[int, int]]]:
        """This rank's batches: as many as every other rank's, as ZeRO 3 needs it; one too many is not counted."""
        count = -(-len(self.data) // (self.batch_size * distributed.get_world_size()))
        firsts = [self._first(number) for number in range(count)]
        everything = range(len(self.data))
        return [[(0, index) for index in everything[first : first + self.batch_size] or (0,)] for first in firsts]
