"""Oversharpening, pixelation, colour quantization."""

import cv2
import numpy as np
from PIL import Image

BINS = 30  # of the histogram that Otsu's thresholds are found on


def oversharpen(img: np.ndarray, amount: float, rng) -> np.ndarray:
    return cv2.addWeighted(img, 1 + amount, cv2.GaussianBlur(img, (5, 5), 0), -amount, 0)


def pixelate(img: np.ndarray, scale: float, rng) -> np.ndarray:
    picture = Image.fromarray(img)
    small = picture.resize((int(picture.width * scale), int(picture.height * scale)), Image.Resampling.BOX)
    return np.array(small.resize(picture.size, Image.Resampling.NEAREST))


def quantization_otsu(img: np.ndarray, classes: int, rng) -> np.ndarray:
    """Each channel in `classes` levels, evenly spaced over its range, cut at Otsu's thresholds."""
    channels = []
    for channel in np.moveaxis(img, -1, 0):
        low, high = int(channel.min()), int(channel.max())
        counts, edges = np.histogram(channel, bins=BINS)
        if np.count_nonzero(counts) <= classes:  # too few values to be cut into so many classes
            channels.append(channel.copy())
            continue
        centres = (edges[:-1] + edges[1:]) / 2
        region = np.digitize(channel, centres[multi_otsu(counts, classes)])
        channels.append((low + region * (high - low) / classes).astype(np.uint8))
    return np.stack(channels, axis=-1)


def multi_otsu(counts: np.ndarray, classes: int) -> list[int]:
    """Last bin of every class but the highest, with the largest variance between classes (Otsu, 1979; Liao, 2001).

    Exact, by dynamic programming over bins: O(classes x bins^2) instead of trying every combination.
    """
    bins = len(counts)
    weight = np.concatenate([[0], np.cumsum(counts)]).astype(float)
    moment = np.concatenate([[0], np.cumsum(counts * np.arange(bins))]).astype(float)
    span_weight = weight[None] - weight[:, None]  # [from, to]
    span_moment = moment[None] - moment[:, None]
    score = np.where(span_weight > 0, span_moment**2 / np.maximum(span_weight, 1e-12), 0.0)
    score[np.tril_indices(bins + 1)] = -np.inf  # a class holds at least one bin
    best = score[0].copy()  # best[j]: bins 0..j-1 in the classes so far
    choices = []
    for _ in range(classes - 1):
        totals = best[:, None] + score  # [cut, to]
        choices.append(totals.argmax(axis=0))
        best = totals.max(axis=0)
    cuts, end = [], bins
    for choice in reversed(choices):
        end = int(choice[end])
        cuts.append(end - 1)
    return cuts[::-1]


def quantization_median(img: np.ndarray, colours: int, rng) -> np.ndarray:
    """Median cut, channel by channel."""
    channels = [
        Image.fromarray(channel).quantize(colours, method=Image.Quantize.MEDIANCUT).convert("L")
        for channel in np.moveaxis(img, -1, 0)
    ]
    return np.stack([np.array(channel) for channel in channels], axis=-1)
