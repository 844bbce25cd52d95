"""A metric scores a batch as `dq.score` scores its images one by one."""

import pytest
import torch

import depictqa
from conftest import image_path, tiny_config
from depictqa.data.images import open_image

NAMES = ("s10_84x84.png", "s11_84x84.png")
PATHS = [image_path(name) for name in NAMES]


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return tiny_config(tmp_path_factory.mktemp("metric"))


@pytest.fixture(scope="module")
def metrics(config):
    return {reference: depictqa.metric(config, reference, device="cpu") for reference in (False, True)}


def tensor_of(path) -> torch.Tensor:
    """[3, H, W] in [0, 1]."""
    image = open_image(path)
    pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return pixels.view(image.height, image.width, 3).permute(2, 0, 1) / 255


def test_a_batch_of_tensors_paths_or_one_image(metrics):
    metric = metrics[False]
    expected = [metric.model.score(path).score for path in PATHS]
    batch = torch.stack([tensor_of(path) for path in PATHS])  # [2, 3, 84, 84]
    for images in (batch, PATHS, [path.read_bytes() for path in PATHS]):
        scores = metric(images)
        assert scores.dtype == torch.float32
        assert scores.tolist() == pytest.approx(expected, abs=1e-4)
    assert metric(PATHS[0]).tolist() == metric(batch[0]).tolist() == pytest.approx(expected[:1], abs=1e-4)
    assert (metric.lower_better, metric.score_range, metric.metric_mode) == (False, "1, 5", "NR")


def test_references_are_one_each_or_one_for_all(metrics):
    metric = metrics[True]
    assert metric.metric_mode == "FR"
    each = metric(PATHS, PATHS[::-1])
    expected = [metric.model.score(a, b).score for a, b in zip(PATHS, PATHS[::-1], strict=True)]
    assert each.tolist() == pytest.approx(expected, abs=1e-4)
    for_all = metric(PATHS, PATHS[0])
    assert for_all.tolist() == pytest.approx([metric.model.score(path, PATHS[0]).score for path in PATHS], abs=1e-4)


@pytest.mark.parametrize(
    ("reference", "given", "message"),
    [
        (False, (PATHS, PATHS), "metric: expected no reference, found one; make it with reference=True"),
        (True, (PATHS,), "metric: expected 1 or 2 references, found 0"),
        (True, (PATHS, [*PATHS, PATHS[0]]), "metric: expected 1 or 2 references, found 3"),
    ],
)
def test_references_that_do_not_fit_are_refused(metrics, reference, given, message):
    with pytest.raises(depictqa.InputError, match=message):
        metrics[reference](*given)
