"""Distortions beside plain code for the same pictures: `python benchmarks/distortions.py` (2 minutes, one core).

`ours` is x_distortion. `plain` does the work as one writes it first: scikit-image and SciPy filters in float64, powers
of every pixel, loops over pixels (compiled by numba), every combination of Otsu's cuts. Where ours is the plain way
already (noise, codecs, Pillow's contrast), ours is measured and counted on both sides. The two take turns in one
process, on one 512 x 384 picture; milliseconds are the fastest of `--repeats` calls, in CPU time, which a busy machine
disturbs least. Results must agree within a grey level, or the benchmark stops.
"""

import argparse
import statistics
import time

import cv2
import numba
import numpy as np
from PIL import Image
from scipy import ndimage
from skimage import data
from skimage.filters import gaussian, threshold_multiotsu

from build_datasets.x_distortion import CLASSES, FUNCTIONS, add_distortion
from build_datasets.x_distortion.common import lens_mask, to_float, to_uint8

SIZE = (512, 384)  # width, height
DISTORTED = 0.95  # share of DQ-495K's pictures
UNCHECKED = {"blur_motion", "blur_glass", "blur_jitter", "quantization_otsu"}  # random; cuts by float32 now and then
SLOW = 0.2  # seconds; a call that takes longer is made once


def plain_gaussian(img, sigma, rng):
    return to_uint8(gaussian(to_float(img), sigma=sigma, channel_axis=-1))


def plain_gaussian_lensmask(img, parameters, rng):
    gamma, sigma = parameters
    x, mask = to_float(img), lens_mask(*img.shape[:2], gamma)
    return to_uint8(mask * x + (1 - mask) * gaussian(x, sigma=sigma, channel_axis=-1))


def plain_motion(img, parameters, rng):
    radius, sigma = parameters
    width = 2 * radius + 1
    weights = np.exp(-(np.arange(width) ** 2) / (2 * sigma**2))
    angle = np.deg2rad(rng.uniform(-90, 90))
    padded = np.pad(to_float(img), ((width, width), (width, width), (0, 0)), mode="edge")
    blurred = np.zeros_like(padded)
    for i, weight in enumerate(weights / weights.sum()):
        shift = -np.ceil(i * np.array([np.sin(angle), np.cos(angle)]) - 0.5).astype(int)
        blurred += weight * np.roll(padded, shift, axis=(0, 1))
    return to_uint8(blurred[width:-width, width:-width])


@numba.njit
def swap_pixels(x, shift):
    """The exchange of two views that copies (see `blur._jitter`)."""
    height, width = x.shape[:2]
    for row in range(height - shift - 1, shift - 1, -1):
        for column in range(width - shift - 1, shift - 1, -1):
            dy, dx = np.random.randint(-shift, shift), np.random.randint(-shift, shift)
            x[row, column], x[row + dy, column + dx] = x[row + dy, column + dx], x[row, column]


def plain_jitter(img, shift, rng):
    jittered = img.copy()
    swap_pixels(jittered, shift)
    return jittered


def plain_glass(img, parameters, rng):
    sigma, shift, passes = parameters
    x = gaussian(to_float(img), sigma=sigma, channel_axis=-1)
    for _ in range(passes):
        swap_pixels(x, shift)
    return to_uint8(gaussian(x, sigma=sigma, channel_axis=-1))


def plain_lens(img, radius, rng):
    y, x = np.mgrid[-8:9, -8:9]
    disk = np.float32(x**2 + y**2 <= radius**2)
    return to_uint8(cv2.filter2D(to_float(img), -1, disk / disk.sum()))


def plain_zoom(img, largest, rng):
    x = np.float32(to_float(img))
    height, width = x.shape[:2]
    zooms = np.arange(1, largest, 0.02)
    total = x.copy()
    for zoom in zooms:
        rows, columns = int(np.ceil(height / zoom)), int(np.ceil(width / zoom))
        top, left = (height - rows) // 2, (width - columns) // 2
        larger = ndimage.zoom(x[top : top + rows, left : left + columns], (zoom, zoom, 1), order=1)
        top, left = (larger.shape[0] - height) // 2, (larger.shape[1] - width) // 2
        total += larger[top : top + height, left : left + width]
    return to_uint8(total / (len(zooms) + 1))


def plain_shift_rgb(img, amount, rng):
    return to_uint8(np.float32(to_float(img)) + np.float32(amount))


def plain_gamma_rgb(img, gamma, rng):
    return to_uint8(to_float(img) ** gamma)


def plain_gamma_hsv(img, gamma, rng):
    hsv = cv2.cvtColor(img, cv2.COLOR_RGB2HSV)
    hsv[..., 2] = to_uint8(to_float(hsv[..., 2]) ** gamma)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)


def plain_stretch(img, power, rng):
    x = to_float(img)
    return to_uint8(1 / (1 + (x.mean(axis=(0, 1)) / (x + 1e-12)) ** power))


def plain_saturate_hsv(img, factor, rng):
    hsv = np.float32(cv2.cvtColor(img, cv2.COLOR_RGB2HSV))
    hsv[..., 1] = np.clip(hsv[..., 1] * factor, 0, 255)
    return cv2.cvtColor(np.uint8(hsv), cv2.COLOR_HSV2RGB)


def plain_saturate_ycrcb(img, factor, rng):
    ycrcb = np.float32(cv2.cvtColor(img, cv2.COLOR_RGB2YCrCb))
    ycrcb[..., 1:] = np.clip(128 + (ycrcb[..., 1:] - 128) * factor, 0, 255)
    return cv2.cvtColor(np.uint8(ycrcb), cv2.COLOR_YCrCb2RGB)


def plain_otsu(img, classes, rng):
    channels = []
    for channel in np.moveaxis(img, -1, 0):
        x = channel.astype(float)
        region = np.digitize(x, threshold_multiotsu(x, classes=classes, nbins=30))
        channels.append(np.uint8(x.min() + region * (x.max() - x.min()) / classes))
    return np.stack(channels, axis=-1)


def plain_median(img, colours, rng):
    channels = [
        Image.fromarray(channel).quantize(colours, method=Image.Quantize.MEDIANCUT).convert("L")
        for channel in np.moveaxis(img, -1, 0)
    ]
    return np.stack([np.array(channel) for channel in channels], axis=-1)


def plain_hist(img, bins, rng):
    x = to_float(img)
    cumulative = np.histogram(x, bins, (0, 1))[0].cumsum()
    equalised = (cumulative - cumulative[0]) * 255 / (cumulative[-1] - cumulative[0])
    return np.uint8(equalised)[np.round(x * (bins - 1)).astype(int)]


PLAIN = {
    "blur_gaussian": plain_gaussian,
    "blur_motion": plain_motion,
    "blur_glass": plain_glass,
    "blur_lens": plain_lens,
    "blur_zoom": plain_zoom,
    "blur_jitter": plain_jitter,
    "brightness_brighten_shfit_RGB": plain_shift_rgb,
    "brightness_brighten_gamma_HSV": plain_gamma_hsv,
    "brightness_brighten_gamma_RGB": plain_gamma_rgb,
    "brightness_darken_shfit_RGB": plain_shift_rgb,
    "brightness_darken_gamma_HSV": plain_gamma_hsv,
    "brightness_darken_gamma_RGB": plain_gamma_rgb,
    "contrast_strengthen_stretch": plain_stretch,
    "contrast_weaken_stretch": plain_stretch,
    "saturate_strengthen_HSV": plain_saturate_hsv,
    "saturate_strengthen_YCrCb": plain_saturate_ycrcb,
    "saturate_weaken_HSV": plain_saturate_hsv,
    "saturate_weaken_YCrCb": plain_saturate_ycrcb,
    "quantization_otsu": plain_otsu,
    "quantization_median": plain_median,
    "quantization_hist": plain_hist,
    "blur_gaussian_lensmask": plain_gaussian_lensmask,
}


def time_in_turn(calls: list, repeats: int) -> list[float]:
    """Fastest of several calls of each, in ms of CPU time."""
    fastest = [float("inf")] * len(calls)
    for _ in range(repeats):
        for i, call in enumerate(calls):
            if fastest[i] < float("inf") and fastest[i] > SLOW * 1e3:
                continue
            start = time.process_time()
            call()
            fastest[i] = min(fastest[i], (time.process_time() - start) * 1e3)
    return fastest


def measure(img: np.ndarray, name: str, severity: int, repeats: int) -> tuple[float, float | None]:
    """ms of ours, ms of the plain form (None: the same code)."""

    def ours():
        return add_distortion(img, severity, name, np.random.default_rng(0))

    if name not in PLAIN:
        return time_in_turn([ours], repeats)[0], None
    parameter = FUNCTIONS[name][1][severity - 1]

    def plain():
        return PLAIN[name](img, parameter, np.random.default_rng(0))

    if name not in UNCHECKED and np.abs(ours().astype(int) - plain()).max() > 1:
        raise SystemExit(f"{name}, severity {severity}: ours and the plain form differ by more than a grey level")
    return tuple(time_in_turn([ours, plain], repeats))


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the distortions beside plain code.")
    parser.add_argument("--repeats", type=int, default=7, help="the fastest of so many calls counts (%(default)s)")
    repeats = parser.parse_args().repeats
    cv2.setNumThreads(1)
    img = np.array(Image.fromarray(data.chelsea()).resize(SIZE))
    swap_pixels(img.copy(), 1), swap_pixels(to_float(img), 1)  # compile
    rows = {}
    print(f"{'function':32} severity {'ours':>9} {'plain':>10} {'ratio':>8}")
    for name in FUNCTIONS:
        for severity in range(1, 6):
            ours, plain = measure(img, name, severity, repeats)
            rows[name, severity] = ours, ours if plain is None else plain
            compared = f"{'same':>10}" if plain is None else f"{plain:7.1f} ms {plain / ours:7.1f}x"
            print(f"{name:32} {severity:8} {ours:6.1f} ms {compared}", flush=True)
    summarise(rows)


def summarise(rows: dict) -> None:
    ours, plain = (sum(row[side] for row in rows.values()) for side in (0, 1))
    print(f"\nwhole catalogue: {ours / 1e3:.2f} s, plain {plain / 1e3:.2f} s: {plain / ours:.1f}x")
    fast = [row for (name, severity), row in rows.items() if name != "quantization_otsu"]
    ours, plain = (sum(row[side] for row in fast) for side in (0, 1))
    print(f"without quantization_otsu: {ours / 1e3:.2f} s, plain {plain / 1e3:.2f} s: {plain / ours:.1f}x")
    print(f"geometric mean of the ratios: {statistics.geometric_mean(p / o for o, p in rows.values()):.1f}x")
    # class, then function in it, then severity, each evenly
    for side, label in enumerate(("ours", "plain")):
        of_function = {name: statistics.mean(rows[name, s][side] for s in range(1, 6)) for name in FUNCTIONS}
        of_class = [statistics.mean(of_function[name] for name in names) for names in CLASSES.values()]
        print(f"DQ-495K mix, {label}: {1e3 / (DISTORTED * statistics.mean(of_class)):.0f} images/s")


if __name__ == "__main__":
    main()
