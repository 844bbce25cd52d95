"""The twelve classes of distortion, one row each: everything that depends on the class is in its row.

Names (with their spelling `shfit`), parameters and pairs are those of the published data. Sampling, answers, long
descriptions and Nano derive from this table; a new class is a new row, and a word in `depictqa.prompts.DISTORTIONS`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from build_datasets.x_distortion import blur, brightness, compression, contrast, detail, noise, quantization, saturation
from depictqa.prompts import DISTORTIONS

Function = tuple[Callable, tuple[Any, ...]]  # what distorts, and its parameter at severity 1..5


@dataclass(frozen=True)
class Evidence:
    """A measure (`dq495k.measure.Measures`) that a distortion moves, and what may be said where it did.

    Attributes:
        measure: name of the measure.
        sign: +1 if the distortion raises it, -1 if it lowers it.
        weak, strong: how the change shows where it is small, and where it is large.
    """

    measure: str
    sign: int
    weak: str
    strong: str


@dataclass(frozen=True)
class DistortionClass:
    """A class of distortions.

    Attributes:
        name: the class in meta files; `prompts.DISTORTIONS` has its word in answers.
        functions: the functions that are drawn, uniformly.
        may_be_followed_by: classes that can be applied after it, where an image has two distortions.
        weak_effects, strong_effects: what a viewer notices, at low and at high severity.
        evidence: what a measurement can add.
        seen_without_reference_from: lowest severity that is visible without a reference.
        by_name_only: functions that are applied on request but never drawn.
    """

    name: str
    functions: Mapping[str, Function]
    may_be_followed_by: tuple[str, ...]
    weak_effects: tuple[str, ...]
    strong_effects: tuple[str, ...]
    evidence: Evidence
    seen_without_reference_from: int = 1
    by_name_only: Mapping[str, Function] = field(default_factory=dict)

    @property
    def answer(self) -> str:
        return DISTORTIONS[self.name]


_CHROMA_NOISE = zip((0.05, 0.06, 0.07, 0.08, 0.09), (1, 1.45, 1.9, 2.35, 2.8), strict=True)  # luma, chroma / luma
_CONTRAST = ("contrast_strengthen", "contrast_weaken")
_SATURATION = ("saturate_strengthen", "saturate_weaken")
_AFTER_TONE = ("blur", "compression", "noise", "pixelate", "quantization")
_AFTER_SATURATION = ("blur", "compression", "noise", "oversharpen", "pixelate", "quantization")
_AFTER_RESAMPLING = ("brighten", *_CONTRAST, "darken", "noise", "oversharpen")

ROWS = (
    DistortionClass(
        "blur",
        functions={
            "blur_gaussian": (blur.blur_gaussian, (1, 2, 3, 4, 5)),
            "blur_motion": (blur.blur_motion, ((5, 3), (10, 5), (15, 7), (15, 9), (20, 12))),
            "blur_glass": (blur.blur_glass, ((0.7, 1, 1), (0.9, 2, 1), (1.2, 2, 2), (1.4, 3, 2), (1.6, 4, 2))),
            "blur_lens": (blur.blur_lens, (2, 3, 4, 6, 8)),
            "blur_zoom": (blur.blur_zoom, (1.03, 1.06, 1.10, 1.15, 1.21)),
            "blur_jitter": (blur.blur_jitter, (1, 2, 3, 4, 5)),
        },
        by_name_only={
            "blur_gaussian_lensmask": (blur.blur_gaussian_lensmask, ((2, 2), (2.4, 4), (3, 6), (3.8, 8), (5, 10)))
        },
        may_be_followed_by=("brighten", "compression", *_CONTRAST, "darken", "noise", "quantization", *_SATURATION),
        weak_effects=(
            "edges are a little soft",
            "the finest details have lost some definition",
            "textures look slightly smooth",
        ),
        strong_effects=(
            "edges are soft and fine details are lost",
            "contours smear and textures melt away",
            "small structures run together",
        ),
        evidence=Evidence(
            "sharpness",
            -1,
            weak="edges have lost part of their bite",
            strong="most of the crispness of the edges is gone",
        ),
    ),
    DistortionClass(
        "noise",
        functions={
            "noise_gaussian_RGB": (noise.noise_gaussian_RGB, (0.05, 0.10, 0.15, 0.20, 0.25)),
            "noise_gaussian_YCrCb": (noise.noise_gaussian_YCrCb, tuple((y, y * k) for y, k in _CHROMA_NOISE)),
            "noise_speckle": (noise.noise_speckle, (0.14, 0.21, 0.28, 0.35, 0.42)),
            "noise_spatially_correlated": (noise.noise_spatially_correlated, (0.08, 0.11, 0.14, 0.18, 0.22)),
            "noise_poisson": (noise.noise_poisson, (80, 60, 40, 25, 15)),
            "noise_impulse": (noise.noise_impulse, (0.01, 0.03, 0.05, 0.07, 0.10)),
        },
        may_be_followed_by=(
            "blur",
            "brighten",
            "compression",
            *_CONTRAST,
            "darken",
            "oversharpen",
            "pixelate",
            *_SATURATION,
        ),
        weak_effects=(
            "a fine grain lies over smooth areas",
            "even areas look a little restless",
            "light speckles show in flat regions",
        ),
        strong_effects=(
            "grain covers all surfaces",
            "random specks hide the fine textures",
            "small details drown in speckles",
        ),
        evidence=Evidence(
            "noise",
            +1,
            weak="the grain is fine but present everywhere",
            strong="the grain is coarse and impossible to overlook",
        ),
    ),
    DistortionClass(
        "compression",
        functions={
            "compression_jpeg": (compression.compression_jpeg, (25, 18, 12, 8, 5)),
            "compression_jpeg_2000": (compression.compression_jpeg_2000, (29, 27.5, 26, 24.5, 23)),
        },
        may_be_followed_by=("blur", "brighten", *_CONTRAST, "darken", "noise", *_SATURATION),
        weak_effects=(
            "faint artifacts surround some edges",
            "the finest textures look smeared",
            "weak ringing follows sharp contours",
        ),
        strong_effects=(
            "coding artifacts surround the edges",
            "details dissolve into coarse patches",
            "textures are smeared beyond recognition",
        ),
        evidence=Evidence(
            "blockiness", +1, weak="a faint grid of blocks shows", strong="a grid of square blocks is plain to see"
        ),
    ),
    DistortionClass(
        "brighten",
        functions={
            "brightness_brighten_shfit_HSV": (brightness.shift_value, (0.1, 0.2, 0.3, 0.4, 0.5)),
            "brightness_brighten_shfit_RGB": (brightness.shift_rgb, (0.1, 0.15, 0.2, 0.27, 0.35)),
            "brightness_brighten_gamma_HSV": (brightness.gamma_value, (0.7, 0.58, 0.47, 0.36, 0.25)),
            "brightness_brighten_gamma_RGB": (brightness.gamma_rgb, (0.8, 0.7, 0.6, 0.45, 0.3)),
        },
        may_be_followed_by=_AFTER_TONE,
        seen_without_reference_from=2,
        weak_effects=(
            "tones are a little too light",
            "bright areas begin to lose details",
            "the picture looks somewhat pale",
        ),
        strong_effects=("bright areas are washed out", "the picture looks overexposed", "highlights merge into white"),
        evidence=Evidence(
            "exposure", +1, weak="the overall tone is lighter than natural", strong="the overall tone is far too light"
        ),
    ),
    DistortionClass(
        "darken",
        functions={
            "brightness_darken_shfit_HSV": (brightness.shift_value, (-0.1, -0.2, -0.3, -0.4, -0.5)),
            "brightness_darken_shfit_RGB": (brightness.shift_rgb, (-0.1, -0.15, -0.2, -0.27, -0.35)),
            "brightness_darken_gamma_HSV": (brightness.gamma_value, (1.5, 1.8, 2.2, 2.7, 3.5)),
            "brightness_darken_gamma_RGB": (brightness.gamma_rgb, (1.4, 1.7, 2.1, 2.6, 3.2)),
        },
        by_name_only={"brightness_vignette": (brightness.vignette, (0.5, 0.875, 1.25, 1.625, 2))},
        may_be_followed_by=_AFTER_TONE,
        seen_without_reference_from=2,
        weak_effects=(
            "tones are a little too dark",
            "shadows begin to lose details",
            "the picture looks somewhat gloomy",
        ),
        strong_effects=("shadows swallow the details", "the picture looks underexposed", "dark areas merge into black"),
        evidence=Evidence(
            "exposure", -1, weak="the overall tone is darker than natural", strong="the overall tone is far too dark"
        ),
    ),
    DistortionClass(
        "contrast_strengthen",
        functions={
            "contrast_strengthen_scale": (contrast.scale_contrast, (1.4, 1.7, 2.1, 2.6, 4.0)),
            "contrast_strengthen_stretch": (contrast.stretch_contrast, (2, 4, 6, 8, 10)),
        },
        may_be_followed_by=_AFTER_TONE,
        seen_without_reference_from=2,
        weak_effects=(
            "tones are set apart a little too much",
            "transitions look somewhat hard",
            "light and dark differ more than they should",
        ),
        strong_effects=(
            "tones jump harshly from dark to light",
            "highlights and shadows are clipped",
            "subtle tones are pushed to the extremes",
        ),
        evidence=Evidence(
            "contrast", +1, weak="the span of tones is stretched", strong="the span of tones is stretched to its limits"
        ),
    ),
    DistortionClass(
        "contrast_weaken",
        functions={
            "contrast_weaken_scale": (contrast.scale_contrast, (0.75, 0.6, 0.45, 0.3, 0.2)),
            "contrast_weaken_stretch": (contrast.stretch_contrast, (1.0, 0.9, 0.8, 0.6, 0.4)),
        },
        may_be_followed_by=_AFTER_TONE,
        seen_without_reference_from=2,
        weak_effects=(
            "the picture looks a little flat",
            "tones lie somewhat close together",
            "the scene has lost some depth",
        ),
        strong_effects=(
            "tones run together and the picture looks flat",
            "everything looks dull, as if behind a veil",
            "objects hardly separate from their background",
        ),
        evidence=Evidence(
            "contrast", -1, weak="the span of tones has narrowed", strong="only a narrow span of tones is left"
        ),
    ),
    DistortionClass(
        "saturate_strengthen",
        functions={
            "saturate_strengthen_HSV": (saturation.scale_saturation, (3, 6, 12, 20, 64)),
            "saturate_strengthen_YCrCb": (saturation.scale_chroma, (2, 3, 5, 8, 16)),
        },
        may_be_followed_by=_AFTER_SATURATION,
        seen_without_reference_from=2,
        weak_effects=(
            "colors are a little too strong",
            "some colors look exaggerated",
            "vivid areas begin to lose nuances",
        ),
        strong_effects=(
            "colors are garish and bleed into each other",
            "colors glow unnaturally",
            "nuances are lost in loud tones",
        ),
        evidence=Evidence(
            "colorfulness", +1, weak="colors are stronger than natural", strong="colors are pushed to the extreme"
        ),
    ),
    DistortionClass(
        "saturate_weaken",
        functions={
            "saturate_weaken_HSV": (saturation.scale_saturation, (0.7, 0.55, 0.4, 0.2, 0)),
            "saturate_weaken_YCrCb": (saturation.scale_chroma, (0.6, 0.4, 0.2, 0.1, 0)),
        },
        may_be_followed_by=_AFTER_SATURATION,
        seen_without_reference_from=2,
        weak_effects=(
            "colors are a little weak",
            "the palette looks somewhat faded",
            "colors have lost some of their life",
        ),
        strong_effects=(
            "colors are faded and lifeless",
            "the picture drifts towards grey",
            "the palette looks washed out",
        ),
        evidence=Evidence(
            "colorfulness", -1, weak="colors are weaker than natural", strong="much of the color is gone"
        ),
    ),
    DistortionClass(
        "oversharpen",
        functions={
            "oversharpen": (detail.oversharpen, (2, 2.8, 4, 6, 8)),
        },
        may_be_followed_by=("brighten",),
        seen_without_reference_from=2,
        weak_effects=("thin halos follow some edges", "textures look a little rough", "outlines are somewhat harsh"),
        strong_effects=(
            "bright and dark halos follow the edges",
            "edges look harsh and textures rough",
            "fine structures look brittle and artificial",
        ),
        evidence=Evidence(
            "sharpness", +1, weak="edges stand out more than they should", strong="edges stand out glaringly"
        ),
    ),
    DistortionClass(
        "pixelate",
        functions={
            "pixelate": (detail.pixelate, (0.5, 0.4, 0.3, 0.25, 0.2)),
        },
        may_be_followed_by=(*_AFTER_RESAMPLING, "quantization", *_SATURATION),
        weak_effects=(
            "slanted edges show small steps",
            "fine details look a little blocky",
            "the finest structures have turned into tiny tiles",
        ),
        strong_effects=(
            "square blocks replace the details",
            "edges turn into visible steps",
            "the picture seems built of coarse tiles",
        ),
        evidence=Evidence(
            "flatness", +1, weak="neighboring pixels form small tiles", strong="neighboring pixels form large tiles"
        ),
    ),
    DistortionClass(
        "quantization",
        functions={
            "quantization_otsu": (quantization.quantization_otsu, (15, 11, 8, 5, 3)),
            "quantization_median": (quantization.quantization_median, (20, 15, 10, 6, 3)),
            "quantization_hist": (quantization.quantization_hist, (24, 16, 8, 6, 4)),
        },
        may_be_followed_by=(*_AFTER_RESAMPLING, "pixelate", *_SATURATION),
        seen_without_reference_from=2,
        weak_effects=(
            "soft shading shows faint steps",
            "smooth gradients are slightly banded",
            "weak false contours appear in even areas",
        ),
        strong_effects=(
            "smooth gradients break into bands",
            "few tones remain and false contours appear",
            "areas of even color are cut into patches",
        ),
        evidence=Evidence("flatness", +1, weak="tones fall into steps", strong="tones fall into wide, flat steps"),
    ),
)
