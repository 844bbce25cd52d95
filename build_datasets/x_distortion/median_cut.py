"""Median cut of one channel, decided from its 256 counts: a thousand times fewer than pixels."""

import numpy as np


def median_cut(counts: np.ndarray, colours: int) -> np.ndarray:
    """What each grey level becomes where a channel keeps `colours` of them.

    Heckbert, "Color image quantization for frame buffer display", 1982, on one axis: the box with most pixels is cut
    below its median level until there are enough; a level takes the nearest of the boxes' means. The published data
    is Pillow's, so every tie is decided as Pillow does: a level between two means keeps its own box's, and among
    boxes of equal count comes first what a binary heap gives first (`_push`, `_pop`).

    Args:
        counts: pixels of each grey level, int [256].

    Returns:
        uint8 [256].
    """
    present = np.flatnonzero(counts)
    heap, single = [(int(counts.sum()), present)], []  # (pixels, levels, rising); boxes of one level
    while heap and len(heap) + len(single) < colours:
        box = _pop(heap)
        levels = box[1]
        if len(levels) == 1:
            single.append(box)
            continue
        cumulative = counts[levels].cumsum()
        cut = max(int(np.searchsorted(2 * cumulative, cumulative[-1])), 1)
        for half in (levels[cut:], levels[:cut]):
            _push(heap, (int(counts[half].sum()), half))
    boxes = sorted((box[1] for box in heap + single), key=lambda levels: levels[0])
    means = np.array([int(np.average(levels, weights=counts[levels]) + 0.5) for levels in boxes])
    own = means.repeat([len(levels) for levels in boxes])  # [present]
    distances = abs(present[:, None] - means)  # [present, colours]
    mapped = np.zeros(256, np.uint8)
    mapped[present] = np.where(abs(present - own) == distances.min(axis=1), own, means[distances.argmin(axis=1)])
    return mapped


def _push(heap: list, item: tuple) -> None:
    """Into a binary heap, largest first; Python's `heapq` orders equals otherwise."""
    heap.append(item)
    place = len(heap) - 1
    while place and heap[parent := (place - 1) // 2][0] < item[0]:
        heap[place] = heap[parent]
        place = parent
    heap[place] = item


def _pop(heap: list) -> tuple:
    largest, item = heap[0], heap.pop()
    place = 0
    while (child := 2 * place + 1) < len(heap):
        if child + 1 < len(heap) and heap[child][0] < heap[child + 1][0]:
            child += 1
        if item[0] > heap[child][0]:
            break
        heap[place] = heap[child]
        place = child
    if heap:
        heap[place] = item
    return largest
