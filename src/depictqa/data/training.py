"""Training data: meta files -> mixture -> samples -> micro batches.

What a sample looks like depends on (seed, epoch, index) only, and which samples a micro batch holds on (seed, number
of the micro batch) only: neither workers nor an interruption change anything.
"""

import math
import random
import signal
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from depictqa.answers import read_items
from depictqa.data.opinions import Opinion, read_opinion
from depictqa.data.preprocess import ImagePreprocessor
from depictqa.errors import InputError
from depictqa.prompts import LEVELS, Task, get_task

ROLES = ("human", "gpt")
MOST_SHOWN = 10


@dataclass
class Conversation:
    """A training sample: the task, its images (uint8 [3, H, W], in the order of the task's slots), the turns.

    Where the task's answer is a level, `opinion` is what it is learned from; the level is the answer's first token.
    """

    task: Task
    images: Sequence[torch.Tensor]
    turns: Sequence[tuple[str, str]]  # (question, answer)
    opinion: Opinion | None = None


@dataclass(frozen=True)
class TrainingItem:
    """A conversation about pictures; `image_paths` are in the order of the task's slots."""

    id: str  # for messages: the item's own id, or its number, after its file's name
    task: Task
    image_paths: tuple[str, ...]
    turns: tuple[tuple[str, str], ...]  # (question, answer)
    opinion: Opinion | None = None  # where the task's answer is a level

    def with_images(self, images: Sequence[torch.Tensor]) -> Conversation:
        return Conversation(self.task, images, self.turns, self.opinion)


def read_mixture(
    meta_paths_weights: Sequence,
    root_dir: str | Path,
    where: str,
    check_images: bool = True,
    max_missing: float = 0.0,
) -> list[TrainingItem]:
    """Read and check all meta files; each one's items are repeated as often as its weight says.

    Args:
        meta_paths_weights: [[meta file, weight], ...]; files are relative to `root_dir`, weights are whole numbers.
        where: file and key of the mixture, for messages.
        check_images: look for every picture on the disk.
        max_missing: share of the mixture's items that may lack a picture; then a line says how many do.

    Raises:
        InputError: a file is absent or no list of items; or lists the first items that have no conversation, roles
            out of order, an unknown task, too few images for it, or no opinion where its answer is a level; or the
            first pictures that are missing.
    """
    root_dir = Path(root_dir)
    metas = [_read_weight(entry, where) for entry in meta_paths_weights]
    absent = [str(root_dir / path) for path, _ in metas if not (root_dir / path).is_file()]
    if absent:
        raise InputError(f"{where}: {len(absent)} meta files do not exist: {_some(absent)}")
    mixture: list[TrainingItem] = []
    problems: list[str] = []
    for path, weight in metas:
        items, wrong = _read_items(root_dir / path, root_dir)
        mixture += items * weight
        problems += wrong
    if not mixture and not problems:
        raise InputError(f"{where}: no items to train on; expected [[meta file, weight], ...]")
    missing, lacking = _missing_images(mixture) if check_images else ([], 0)
    if lacking and lacking <= max_missing * len(mixture):
        print(
            f"{where}: {lacking} of {len(mixture)} samples are left out, {len(missing)} images do not exist: {_some(missing)}"
        )
        missing = []
    errors = [
        f"{len(found)} {what}: {_some(found)}"
        for what, found in (("items cannot be trained on", problems), ("images do not exist", missing))
        if found
    ]
    if errors:
        raise InputError(f"{where}: {'; '.join(errors)}")
    return mixture


def _read_weight(entry, where: str) -> tuple[str, int]:
    match entry:
        case [str(path), int(weight)] if weight > 0 and weight is not True:
            return path, weight
    raise InputError(f"{where}: expected [meta file, times it is repeated], found {entry!r}")


def _read_items(path: Path, root_dir: Path) -> tuple[list[TrainingItem], list[str]]:
    """The items of one meta file, pictures not looked for, and what is wrong with the others."""
    items, problems = [], []
    for number, entry in enumerate(read_items(path)):
        name = entry.get("id", number)
        try:
            items.append(_read_item(entry, f"{path.name}#{name}", root_dir))
        except InputError as error:
            problems.append(f"{path}, item {name}: {error}")
    return items, problems


def _read_item(entry: dict, name: str, root_dir: Path) -> TrainingItem:
    task = get_task(str(entry.get("task_type")))
    given = {field: entry.get(field) for field in task.fields}  # other pictures of the item are not looked at
    absent = [field for field, value in given.items() if value is None]
    if absent:
        raise InputError(f"task {task.name} takes {', '.join(task.fields)}; {', '.join(absent)} absent")
    paths = []
    for field, value in given.items():
        if not isinstance(value, str):
            raise InputError(f"{field}: expected a path, found {value!r}")
        paths.append(str(root_dir / value))
    turns, opinion = _read_turns(entry.get("conversations")), None
    if task.answer == "level":
        if len(turns) != 1 or turns[0][1] not in LEVELS:
            raise InputError(f"task {task.name} takes one question, answered by one of {', '.join(LEVELS)}")
        opinion = read_opinion(entry.get("score"), entry.get("dataset"))
    return TrainingItem(name, task, tuple(paths), turns, opinion)


def _read_turns(conversations) -> tuple[tuple[str, str], ...]:
    if not isinstance(conversations, list) or not conversations:
        raise InputError(
            "'conversations' is missing or empty; expected [{from: human, value}, {from: gpt, value}, ...]"
        )
    values = []
    for position, turn in enumerate(conversations):
        role, value = (turn.get("from"), turn.get("value")) if isinstance(turn, dict) else (None, None)
        if role != ROLES[position % 2]:
            raise InputError(f"turn {position}: expected 'from: {ROLES[position % 2]}', found {role!r}")
        if not isinstance(value, str) or not value.strip():
            raise InputError(f"turn {position}: 'value' is missing or empty; expected text")
        values.append(value)
    if len(values) % 2:
        raise InputError(f"turn {len(values)}: the answer ('from: gpt') to the last question is missing")
    return tuple(zip(values[::2], values[1::2], strict=True))


def _missing_images(items: Sequence[TrainingItem]) -> tuple[list[str], int]:
    """The pictures that are not on the disk, and how many items lack one."""
    there = {path: Path(path).is_file() for path in dict.fromkeys(path for item in items for path in item.image_paths)}
    lacking = sum(not all(there[path] for path in item.image_paths) for item in items)
    return [path for path, is_there in there.items() if not is_there], lacking


def _some(texts: Sequence[str]) -> str:
    return ", ".join(texts[:MOST_SHOWN]) + (", ..." if len(texts) > MOST_SHOWN else "")


@dataclass(frozen=True)
class Broken:
    """A sample that is left out, since one of its pictures cannot be read. `index` is its place in the mixture."""

    index: int
    epoch: int  # from 1 on
    id: str
    file: str
    reason: str


@dataclass(frozen=True)
class Sample:
    """An item, its pictures read. Where one is `broken`, the conversation is about black pictures instead."""

    index: int
    id: str
    conversation: Conversation
    broken: Broken | None = None


@dataclass(frozen=True)
class Batch:
    """A micro batch: what the model is given; and of the samples that count, their names and places in the mixture.

    Where every sample is broken, one conversation about black pictures stands in, without name or place: each rank
    makes as many passes as the others, and this one has no weight.
    """

    conversations: list[Conversation]
    ids: list[str]
    indices: list[int]
    broken: list[Broken]

    def pin_memory(self) -> "Batch":
        """What a DataLoader calls so that copies to the GPU need not wait."""
        return self._map(lambda image: image.pin_memory())

    @property
    def tasks(self) -> list[str]:
        return [conversation.task.name for conversation in self.conversations]

    def to(self, device: torch.device) -> "Batch":
        return self._map(lambda image: image.to(device, non_blocking=True))

    def _map(self, change) -> "Batch":
        moved = [replace(c, images=tuple(change(image) for image in c.images)) for c in self.conversations]
        return replace(self, conversations=moved)


class TrainingSet(Dataset):
    """Samples by (epoch, index): pictures decoded, scaled and cropped at random, still uint8.

    Args:
        seed: None leaves the pictures whole, for validation.
    """

    def __init__(self, items: Sequence[TrainingItem], preprocess: ImagePreprocessor, seed: int | None):
        self.items, self.preprocess, self.seed = items, preprocess, seed

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        epoch, index = key
        item = self.items[index]
        rng = None if self.seed is None else random.Random(f"{self.seed} {epoch} {index}")
        images = []
        for path in item.image_paths:
            try:
                images.append(self.preprocess.load(path, rng))
            except InputError as error:
                broken = Broken(index, epoch + 1, item.id, path, str(error).removeprefix(f"{path}: "))
                black = [self.preprocess(Image.new("RGB", (1, 1)))] * len(item.image_paths)
                return Sample(index, item.id, item.with_images(black), broken)
        return Sample(index, item.id, item.with_images(images))

    def broken_among(self, indices: Iterable[int]) -> list[int]:
        """Those of the samples that cannot be read now."""
        return [index for index in indices if self[0, index].broken is not None]


def collate(samples: Sequence[Sample]) -> Batch:
    """A batch of the samples that can be read."""
    whole = [sample for sample in samples if sample.broken is None]
    return Batch(
        conversations=[sample.conversation for sample in whole or samples[:1]],
        ids=[sample.id for sample in whole],
        indices=[sample.index for sample in whole],
        broken=[sample.broken for sample in samples if sample.broken is not None],
    )


def estimate_tokens(item: TrainingItem, tokens_per_image: int) -> int:
    """About how long a sample's sequence is: what is needed to put samples of like lengths together."""
    return len(item.image_paths) * tokens_per_image + sum(len(text) for turn in item.turns for text in turn) // 4


class MicroBatches:
    """What each micro batch of one rank holds, over all epochs: lists of (epoch, index).

    Every epoch is a new permutation, cut into global batches (the last, incomplete one is left out), each dealt
    to the ranks in order. The samples of an update are dealt longest first, so that those of a micro batch, and
    those of the ranks, are of like length: the update is the same, as it averages over samples, with less padding.
    Where a micro batch is a whole update, that saves nothing. A `window` of several updates then does: its samples
    are cut into micro batches by length, and these are dealt to its updates at random.

    Args:
        lengths: of the samples' sequences, about; equal ones leave the order of the permutation.
        batch_size: samples of a micro batch of one rank.
        accumulation: micro batches of an update.
        start, stop: first micro batch, and the one after the last; counted from the first epoch's begin.
        window: number of updates that share their samples. At 1, each keeps those of the permutation.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        batch_size: int,
        accumulation: int,
        rank: int,
        world_size: int,
        seed: int,
        start: int,
        stop: int,
        window: int = 1,
    ):
        self.lengths, self.batch_size, self.accumulation, self.window = lengths, batch_size, accumulation, window
        self.rank, self.world_size, self.seed, self.start, self.stop = rank, world_size, seed, start, stop
        self.per_epoch = len(lengths) // (batch_size * world_size)

    def __len__(self) -> int:
        return self.stop - self.start

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order_of = None
        for number in range(self.start, self.stop):
            epoch, batch = divmod(number, self.per_epoch)
            if epoch != order_of:
                order, order_of = self.dealt(epoch), epoch
            first = (batch * self.world_size + self.rank) * self.batch_size
            yield [(epoch, index) for index in order[first : first + self.batch_size]]

    def dealt(self, epoch: int) -> list[int]:
        """The epoch's order with the samples of each window cut by length, those of each update longest first."""
        order, dealt = self.order(epoch), []
        size = self.batch_size * self.world_size
        numbers = range(epoch * self.per_epoch, (epoch + 1) * self.per_epoch)  # a window may end in the next epoch
        for window, members in groupby(numbers, lambda number: number // (self.accumulation * self.window)):
            updates = [number // self.accumulation for number in members]  # of each micro batch of the window
            samples = order[len(dealt) : len(dealt) + len(updates) * size]
            samples.sort(key=lambda index: -self.lengths[index])
            pieces = list(range(len(updates)))
            random.Random(f"{self.seed} {epoch} {window}").shuffle(pieces)
            for _, piece in sorted(zip(updates, pieces, strict=True)):
                dealt += samples[piece * size : (piece + 1) * size]
        return dealt

    def order(self, epoch: int) -> list[int]:
        generator = torch.Generator().manual_seed(random.Random(f"{self.seed} {epoch}").getrandbits(63))
        return torch.randperm(len(self.lengths), generator=generator).tolist()


def load_batches(
    data: TrainingSet,
    micro_batches: Iterable[list[tuple[int, int]]],
    num_workers: int,
    pin_memory: bool,
    ahead: int = 1,
) -> Iterator[Batch]:
    """Micro batches, prepared by `num_workers` processes, at least `ahead` of them before they are asked for."""
    loader = DataLoader(
        data,
        batch_sampler=micro_batches,
        num_workers=num_workers,
        collate_fn=collate,
        pin_memory=pin_memory,
        prefetch_factor=max(2, math.ceil(ahead / num_workers)) if num_workers else None,
        worker_init_fn=_outlive_sigterm,
        generator=torch.Generator(),  # or the loader would draw from the generator that dropout draws from
    )
    yield from loader


def _outlive_sigterm(_: int) -> None:
    """A scheduler sends SIGTERM to all processes; the main one still needs its batches to finish the update."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
