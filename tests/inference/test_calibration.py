"""The calibration file: what it does to numbers, and what it refuses."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, logit, softmax

from depictqa.errors import InputError
from depictqa.inference.calibration import (
    Calibration,
    Fit,
    read_calibration,
    sha256,
    temper,
    write_calibration,
)

CALIBRATION = Calibration({"compare": Fit(2.0, 100, 0.9, 0.6), "score": Fit(0.5, 50, 1.2, 1.1)})


def test_a_confidence_by_hand():
    """0.9 has odds of 9; half the logit is the square root of the odds, 3: 0.75."""
    assert CALIBRATION.confidence("compare", 0.9) == pytest.approx(0.75)
    assert CALIBRATION.confidence("compare", 0.5) == 0.5
    assert CALIBRATION.confidence("compare", None) is None


def test_a_distribution_by_hand():
    """Temperature 1/2 squares the probabilities: 0.16, 0.04, 0.04, 0.04, 0.04 -> of 0.32."""
    found = CALIBRATION.distribution("score", np.array([0.4, 0.2, 0.2, 0.1, 0.1]))
    assert found == pytest.approx(np.array([16, 4, 4, 1, 1]) / 26)


@given(st.floats(0.001, 0.999), st.floats(0.1, 10))
def test_a_confidence_is_the_logit_divided(confidence, temperature):
    found = Calibration({"single": Fit(temperature, 1, 1, 1)}).confidence("single", confidence)
    assert found == pytest.approx(expit(logit(confidence) / temperature), abs=1e-5)


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=6), st.floats(0.2, 5))
def test_probabilities_are_the_softmax_of_divided_logits(logits, temperature):
    found = temper(softmax(logits), temperature)
    assert found == pytest.approx(softmax(np.array(logits) / temperature), abs=1e-4)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 1 + 1e-7])
def test_certainty_stays_finite(confidence):
    found = CALIBRATION.confidence("compare", confidence)
    assert found == pytest.approx(min(max(confidence, 0.001), 0.999), abs=1e-3)


def test_without_a_file_numbers_are_unchanged(tmp_path):
    calibration = read_calibration(tmp_path / "calibration.json", delta=tmp_path / "absent.pt")
    assert calibration.confidence("single", 0.1234567) == 0.1234567
    levels = np.array([0.3, 0.7])
    assert calibration.distribution("score", levels) is levels


def test_of_a_kind_that_was_not_fitted_numbers_are_unchanged():
    assert CALIBRATION.confidence("single", 0.9) == 0.9


def test_what_is_written_is_read(tmp_path):
    (tmp_path / "ckpt.pt").write_bytes(b"delta")
    written = Calibration(CALIBRATION.fits, sha256(tmp_path / "ckpt.pt"))
    write_calibration(tmp_path / "calibration.json", written)
    assert read_calibration(tmp_path / "calibration.json", tmp_path / "ckpt.pt") == written
    assert read_calibration(tmp_path / "calibration.json") == written
    content = json.loads((tmp_path / "calibration.json").read_text())
    assert content["version"] == 1
    assert content["fits"]["compare"] == {"temperature": 2.0, "n": 100, "nll_before": 0.9, "nll_after": 0.6}


def test_another_delta_is_refused(tmp_path):
    (tmp_path / "ckpt.pt").write_bytes(b"delta")
    write_calibration(tmp_path / "calibration.json", Calibration({}, sha256(tmp_path / "ckpt.pt")))
    (tmp_path / "ckpt.pt").write_bytes(b"trained on")
    with pytest.raises(
        InputError, match="calibration.json: fitted to another delta than .*ckpt.pt; run depictqa calib"
    ):
        read_calibration(tmp_path / "calibration.json", tmp_path / "ckpt.pt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "expected a calibration of version 1"),
        ({"version": 2, "fits": {}}, "expected a calibration of version 1"),
        ({"version": 1, "fits": {"pair": {}}}, "no kind 'pair'; expected single, compare, score"),
        ({"version": 1, "fits": {"single": {}}}, "fits.single.temperature: expected a number above 0, found None"),
        ({"version": 1, "fits": {"single": {"temperature": 0}}}, "expected a number above 0, found 0"),
        ({"version": 1, "fits": {"single": {"temperature": 2}}}, "fits.single: expected temperature, n, nll_before"),
    ],
)
def test_a_damaged_file_is_one_line(tmp_path, content, message):
    (tmp_path / "calibration.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        read_calibration(tmp_path / "calibration.json")
