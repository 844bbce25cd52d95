"""Few levels a channel: cut at Otsu's thresholds, by median cut, or equalised by the histogram.

All three are functions of one grey level, found from the histogram.
"""

import cv2
import numpy as np

from build_datasets.x_distortion.common import LEVELS, map_levels
from build_datasets.x_distortion.median_cut import median_cut

BINS = 30  # of the histogram that Otsu's thresholds are found on


def quantization_otsu(img: np.ndarray, classes: int, rng) -> np.ndarray:
    """Each channel in `classes` levels, evenly spaced over its range, cut at Otsu's thresholds."""
    return map_levels(img, np.stack([_otsu_levels(counts, classes) for counts in _histograms(img)], axis=-1))


def quantization_median(img: np.ndarray, colours: int, rng) -> np.ndarray:
    """Median cut, channel by channel."""
    return map_levels(img, np.stack([median_cut(counts, colours) for counts in _histograms(img)], axis=-1))


def quantization_hist(img: np.ndarray, bins: int, rng) -> np.ndarray:
    """`bins` evenly spaced levels, each sent where histogram equalisation over all channels sends it."""
    counts = sum(_histograms(img))
    cumulative = np.histogram(np.arange(256), bins, (0, 255), weights=counts)[0].cumsum()
    darkest = cumulative[cumulative > 0][0]
    equalised = np.maximum(cumulative - darkest, 0) * 255 / max(cumulative[-1] - darkest, 1)
    return map_levels(img, equalised.astype(np.uint8)[np.round(LEVELS * (bins - 1)).astype(int)])


def _histograms(img: np.ndarray) -> list[np.ndarray]:
    """Pixels of each grey level, int [256], of each channel."""
    return [cv2.calcHist([img], [channel], None, [256], [0, 256]).ravel().astype(int) for channel in range(3)]


def _otsu_levels(pixels: np.ndarray, classes: int) -> np.ndarray:
    """What each grey level becomes, uint8 [256], given the pixels of each."""
    present = np.flatnonzero(pixels)
    low, high = int(present[0]), int(present[-1])
    counts, edges = np.histogram(np.arange(256), BINS, (low, high), weights=pixels)
    occupied = np.flatnonzero(counts)
    if len(occupied) < classes:  # too few values to be cut: the channel stays as it is
        return np.arange(256, dtype=np.uint8)
    cuts = occupied[:-1] if len(occupied) == classes else multi_otsu(counts, classes)
    region = np.digitize(np.arange(256), ((edges[:-1] + edges[1:]) / 2)[cuts])
    return (low + region * (high - low) / classes).astype(np.uint8)


def multi_otsu(counts: np.ndarray, classes: int) -> list[int]:
    """Last bin of every class but the highest, with the largest variance between classes.

    Otsu, "A threshold selection method from gray-level histograms", 1979, in the form of Liao, Chen and Chung, "A fast
    algorithm for multilevel thresholding", 2001: the sum over classes of moment^2 / weight. Exact, by dynamic
    programming over the bins: O(classes x bins^2), not every combination of cuts. The lowest bin's moment is counted
    as if it were the second's: scikit-image does so, and the published data was cut by it.

    Args:
        counts: pixels in each bin, [bins], of which more than `classes` are occupied.
        classes: at least 2.
    """
    bins = len(counts)
    centres = np.maximum(np.arange(bins), 1)
    weight = np.concatenate([[0], np.cumsum(counts)]).astype(float)
    moment = np.concatenate([[0], np.cumsum(counts * centres)]).astype(float)
    span_weight = weight - weight[:, None]  # [from, to]
    span_moment = moment - moment[:, None]
    score = np.where(span_weight > 0, span_moment**2 / np.maximum(span_weight, 1e-12), 0.0)
    score[np.tril_indices(bins + 1)] = -np.inf  # a class holds at least one bin
    best = score[0]  # best[j]: bins 0..j-1 in the classes so far
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
