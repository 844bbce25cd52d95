"""Pictures first: in which order the questions of a job are asked, and which pictures are there when.

Each distinct picture of a process's share is decoded and encoded once, before the first question about it, and its
features are kept until the last one. What is computed together is a function of the job's items and of the batch size
alone, whatever an earlier run has done already and however many processes share the rest: so are the answers' bytes.

Questions about the same first pictures stay together, as a vote's pairs of one reference and Image A, whose prompts begin
alike; within a window, such groups are sorted by length, so that little is lost on padding. Knows no model.
"""

import itertools
import warnings
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from depictqa.data.meta import Item
from depictqa.data.preprocess import ImagePreprocessor
from depictqa.errors import InputError

WINDOW = 32  # batches whose questions are sorted by length
TILE = 128  # pictures that are compared with each other or with another tile's, before the next ones
MAX_TOKENS = 200_000  # of features that are kept at a time: 1.6 GB of a 7B model in 16 bits
CHARACTERS = 4  # of a question, that make a token, roughly


@dataclass(frozen=True)
class Step:
    """What is done for one batch of questions, in this order.

    Args:
        load: groups of pictures that are encoded, each in one pass.
        ask: places of the items that are asked.
        drop: pictures whose features are not needed any more, or give way.
    """

    load: tuple[tuple[Path, ...], ...]
    ask: tuple[int, ...]
    drop: tuple[Path, ...]


@dataclass(frozen=True)
class Schedule:
    """The steps of a process, and what they take.

    Args:
        pictures: how many different ones there are.
        loads: how often one is decoded and encoded.
        peak: most tokens of features at a time.
    """

    steps: list[Step]
    pictures: int
    loads: int
    peak: int

    def __str__(self) -> str:
        again = self.loads - self.pictures
        return (
            f"{sum(len(step.ask) for step in self.steps):,} questions about {self.pictures:,} images, each decoded and "
            f"encoded once{f', {again:,} again' if again else ''}; at most {self.peak:,} image tokens are kept"
        )


def ordered(items: Sequence[Item]) -> list[int]:
    """Places of the items in the order in which they are asked.

    Those with the same first pictures stay together, groups in the order in which the list begins them. The pairs of a
    great many pictures are cut into tiles, like a matrix that is multiplied: each needs 2 x TILE pictures at most.
    """
    firsts: dict[tuple[Path, ...], int] = {}
    numbers: dict[tuple[Path, ...], dict[Path, int]] = defaultdict(dict)

    def key(place: int) -> tuple[int, ...]:
        paths = items[place].image_paths
        shared, pair, before_last = paths[:-2], paths[-2:], paths[:-1]
        if not before_last:
            return ()
        own = numbers[shared]
        tiles = [own.setdefault(path, len(own)) // TILE for path in pair]
        return firsts.setdefault(shared, place), *tiles, firsts.setdefault(before_last, place)

    return sorted(range(len(items)), key=key)


class Planner:
    """Makes the schedule of a job's questions.

    Args:
        tokens: (W, H) of a prepared picture -> image tokens of it.
        max_tokens: features beyond that give way, those first that are needed again last.
    """

    def __init__(
        self,
        items: Sequence[Item],
        batch_size: int,
        preprocess: ImagePreprocessor,
        tokens: Callable[[int, int], int],
        max_tokens: int = MAX_TOKENS,
    ):
        self.items, self.batch_size, self.max_tokens = items, batch_size, max_tokens
        self._tokens_of_size, self._preprocess = tokens, preprocess
        self._tokens: dict[Path, int] = {}
        size = WINDOW * batch_size
        order = ordered(items)
        self._windows = [order[start : start + size] for start in range(0, len(order), size)]
        self._first_window: dict[Path, int] = {}  # in which a picture is needed first
        for number, window in enumerate(self._windows):
            for place in window:
                for path in items[place].image_paths:
                    self._first_window.setdefault(path, number)
        self.batches = cache(self._batches)
        self._loads = cache(self._loads_of)

    def schedule(
        self, todo: Collection[int], part: Callable[[list, list[float]], list] = lambda all, _: all
    ) -> Schedule:
        """The steps that ask some of the items.

        Args:
            todo: places of the items that are asked.
            part: picks this process's share of (window, batch) pairs, given the work of each.
        """
        todo, shares, work = set(todo), [], []
        for number, window in enumerate(self._windows):
            count = -(-len(window) // self.batch_size)
            if asked := len(todo.intersection(window)):
                shares += [(number, batch) for batch in range(count)]
                work += [asked / count] * count
        asks = []
        for number, batch in part(shares, work):
            if ask := tuple(place for place in self.batches(number)[batch] if place in todo):
                asks.append(ask)
        return self._with_pictures(asks)

    def _with_pictures(self, asks: Sequence[tuple[int, ...]]) -> Schedule:
        needed = [dict.fromkeys(path for place in ask for path in self.items[place].image_paths) for ask in asks]
        uses: dict[Path, deque[int]] = {}  # steps that need a picture, and are not done
        for number, paths in enumerate(needed):
            for path in paths:
                uses.setdefault(path, deque()).append(number)
        pictures = len(uses)
        kept: dict[Path, int] = {}  # picture -> its tokens
        loads = total = peak = 0
        steps = []
        for ask, paths in zip(asks, needed, strict=True):
            load, touched = [], dict(paths)
            for path in paths:
                if path not in kept:
                    load.append(group := self._loads(self._first_window[path])[path])
                    new = {mate: self._tokens[mate] for mate in group}
                    total += sum(count for mate, count in new.items() if mate not in kept)
                    kept |= new
                    touched |= dict.fromkeys(group)
                    loads += len(group)
                uses[path].popleft()
            peak = max(peak, total)
            drop = [path for path in touched if not uses.get(path)]
            total -= sum(map(kept.pop, drop))
            if total > self.max_tokens:
                latest_first = sorted(kept, key=lambda path: -uses[path][0])
                while total > self.max_tokens:
                    drop.append(latest_first.pop(0))
                    total -= kept.pop(drop[-1])
            steps.append(Step(tuple(load), ask, tuple(drop)))
        return Schedule(steps, pictures, loads, peak)

    def _batches(self, number: int) -> list[list[int]]:
        """Places of a window's items, cut into batches. Longest first: that memory lacks is seen soon."""
        items = self.items
        groups = [
            sorted(group, key=self._length, reverse=True)
            for _, group in itertools.groupby(
                self._windows[number], lambda place: items[place].image_paths[:-1] or place
            )
        ]
        groups.sort(key=lambda group: self._length(group[0]), reverse=True)
        order = list(itertools.chain.from_iterable(groups))
        return [order[start : start + self.batch_size] for start in range(0, len(order), self.batch_size)]

    def _loads_of(self, number: int) -> dict[Path, tuple[Path, ...]]:
        """Of the pictures that a window is the first to need: which are encoded together."""
        places = itertools.chain.from_iterable(self.batches(number))
        paths = dict.fromkeys(path for place in places for path in self.items[place].image_paths)
        own = [path for path in paths if self._first_window[path] == number]
        groups = [tuple(own[start : start + self.batch_size]) for start in range(0, len(own), self.batch_size)]
        return {path: group for group in groups for path in group}

    def _length(self, place: int) -> int:
        """Tokens of a prompt, roughly, but for the task's own text."""
        item = self.items[place]
        for path in item.image_paths:
            if path not in self._tokens:
                self._tokens[path] = self._tokens_of_size(*self._preprocess.prepared_size(_size(path)))
        return sum(self._tokens[path] for path in item.image_paths) + len(item.query) // CHARACTERS


def _size(path: Path) -> tuple[int, int]:
    """(W, H) by a picture's head, turned or not; of one that cannot be read, which is said when it is decoded, (1, 1)."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                return image.size
    except Exception:  # on damaged bytes a decoder may raise anything
        return 1, 1


class _Loads(Dataset):
    """The pictures of each group, prepared in loading processes; instead of a broken one, the error's text."""

    def __init__(self, preprocess: ImagePreprocessor):
        self.preprocess = preprocess

    def __getitem__(self, group: tuple[Path, ...]) -> list[torch.Tensor | str]:
        return [self._load(path) for path in group]

    def _load(self, path: Path) -> torch.Tensor | str:
        try:
            return self.preprocess.load(path)
        except InputError as error:
            return str(error)


def load_ahead(
    schedule: Schedule, preprocess: ImagePreprocessor, num_workers: int
) -> Iterator[dict[Path, torch.Tensor | str]]:
    """The pictures of each step that are new, uint8 [3, H, W], or what is wrong with them; decoded in processes, ahead."""
    groups = [group for step in schedule.steps for group in step.load]
    workers = min(num_workers, schedule.loads // 16)  # starting processes costs more than a few pictures
    loader = DataLoader(_Loads(preprocess), sampler=groups, batch_size=None, num_workers=workers, collate_fn=list)
    return (dict(zip(group, images, strict=True)) for group, images in zip(groups, loader, strict=True))
