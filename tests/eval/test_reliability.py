"""cal_score.py, cal_order_bias.py and `depictqa calibrate` as programs."""

import json
import subprocess
import sys

import numpy as np
import pytest

from tests.evaluation.goldens import run_script

pytestmark = pytest.mark.slow


@pytest.fixture
def save(tmp_path):
    def write(name, items):
        (tmp_path / f"{name}.json").write_text(json.dumps(items))

    return write


@pytest.fixture
def scores(save):
    generator = np.random.default_rng(0)
    quality = generator.uniform(1, 5, 60)
    stds = generator.uniform(0.2, 1, 60)
    images = [{"id": n, "image_ref": None, "image_A": f"{n}.png", "image_B": None} for n in range(60)]
    means = [{"score": {"mean": 20 * q, "std": 8, "min": 0, "max": 100}, "dataset": "x"} for q in quality]
    save("gt", [one | mean for one, mean in zip(images, means)])
    found = quality + stds * generator.normal(size=60)
    save("pred", [{"id": n, "score": s, "score_std": std} for n, (s, std) in enumerate(zip(found, stds))])
    pairs = [(n, n + 1) for n in range(0, 60, 2)]
    asked = [{"id": n, "image_A": f"{a}.png", "image_B": f"{b}.png"} for n, (a, b) in enumerate(pairs)]
    texts = ["Image A" if found[a] > found[b] else "Image B" for a, b in pairs]
    save("asked", asked)
    save("compared", [{"id": n, "text": text, "confidence": 0.8} for n, text in enumerate(texts)])


def test_scores_of_one_set(scores, tmp_path):
    done = run_script(
        "cal_score.py",
        *("--pred_path", "pred.json", "--gt_path", "gt.json", "--intervals", "0", "0.6", "1"),
        *("--compare_pred", "compared.json", "--compare_test", "asked.json", "--json", "o.json", "--plot", "o.png"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / "o.json").read_text())
    (one,) = figures["sets"]
    low, high = one["interval95"]["srcc"]
    assert low < one["figures"]["srcc"] < high
    assert f"SRCC:  {one['figures']['srcc']:.4f} (95% interval {low:.4f} to {high:.4f})" in done.stdout
    assert [row["images"] for row in one["by_std"]] == [25, 35]
    assert one["order"]["share"] == 1 and "agrees with 30 comparisons:  1.0000" in done.stdout
    assert (tmp_path / "o.png").read_bytes().startswith(b"\x89PNG")


def test_scores_of_two_sets_and_a_missing_one(scores, tmp_path):
    (tmp_path / "short.json").write_text(json.dumps(json.loads((tmp_path / "pred.json").read_text())[:30]))
    arguments = ("--pred_path", "pred.json", "short.json", "--gt_path", "gt.json", "gt.json", "--json", "o.json")
    done = run_script("cal_score.py", *arguments, cwd=tmp_path)
    assert done.returncode == 2 and "short.json: 30 answers have no prediction (see --allow_missing)" in done.stderr
    assert "Weighted by images:" in done.stdout and not (tmp_path / "o.json").exists()
    assert run_script("cal_score.py", *arguments, "--allow_missing", cwd=tmp_path).returncode == 0
    figures = json.loads((tmp_path / "o.json").read_text())
    large, small = (one["figures"]["srcc"] for one in figures["sets"])
    assert figures["weighted"]["srcc"] == pytest.approx((60 * large + 30 * small) / 90)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--gt_path", "gt.json", "gt.json"), "--pred_path and --gt_path: expected the same number of files"),
        (("--gt_path", "gt.json", "--compare_pred", "x.json"), "--compare_pred and --compare_test: expected both"),
        (("--gt_path", "gt.json", "--intervals", "1", "0"), "pred.json, gt.json: --intervals: expected at least two"),
    ],
)
def test_mistakes_are_one_line(scores, tmp_path, arguments, message):
    done = run_script("cal_score.py", "--pred_path", "pred.json", *arguments, cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.startswith(f"error: {message}")


def test_order_bias_from_two_files(save, tmp_path):
    pairs = [(f"{n}a", f"{n}b") for n in range(10)]
    save("asked", [{"id": n, "image_A": a, "image_B": b, "answer": "Image A"} for n, (a, b) in enumerate(pairs)])
    save("swapped", [{"id": n, "image_A": b, "image_B": a, "answer": "Image B"} for n, (a, b) in enumerate(pairs)])
    save("first", [{"id": n, "text": "Image A", "confidence": 0.9} for n in range(10)])
    save("second", [{"id": n, "text": "Image B" if n < 6 else "Image A", "confidence": 0.7} for n in range(10)])
    arguments = ("--pred_path", "first.json", "second.json", "--gt_path", "asked.json", "swapped.json")
    done = run_script("cal_order_bias.py", *arguments, "--json", "o.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "First image preferred:  0.7000 of 20 answers",
        "Both orders agree:  0.6000 of 10 pairs, Cohen's kappa 0.0000",
        "Mean difference of the two probabilities:  0.3600",  # 6 x (0.9 - 0.7), 4 x (0.9 - 0.3)
        "Accuracy by one order:  0.8000, by the mean of both 1.0000",
    ]
    assert json.loads((tmp_path / "o.json").read_text())["consistent_share"] == 0.6


def calibrate(*arguments, cwd):
    code = "from depictqa.evaluation.reliability_commands import calibrate_command as main; main()"
    return subprocess.run([sys.executable, "-c", code, *arguments], cwd=cwd, capture_output=True, text=True)


def test_calibrate_keeps_the_kinds_that_are_not_fitted_now(save, tmp_path):
    save("rating_gt", [{"id": n, "answer": "Image A"} for n in range(40)])
    save("rating", [{"id": n, "text": f"Image {'B' if n % 4 == 0 else 'A'}", "confidence": 0.9} for n in range(40)])
    save("levels_gt", [{"id": n, "answer": "good"} for n in range(10)])
    levels = {"excellent": 0.05, "good": 0.8, "fair": 0.05, "poor": 0.05, "bad": 0.05}
    save("levels", [{"id": n, "score": 3.7, "levels": levels} for n in range(10)])
    (tmp_path / "ckpt.pt").write_bytes(b"delta")
    common = ("--out", "calibration.json", "--delta", "ckpt.pt")
    files = ("--pred_path", "rating.json", "--gt_path", "rating_gt.json")
    other = ("--test_pred_path", "rating.json", "--test_gt_path", "rating_gt.json")
    done = calibrate(*files, *other, *common, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "compare:  temperature 2.0000 from 40 answers" in done.stdout  # odds of 9 to odds of 3
    assert "ece            0.1500 -> 0.0000" in done.stdout
    done = calibrate("--pred_path", "levels.json", "--gt_path", "levels_gt.json", *common, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    fits = json.loads((tmp_path / "calibration.json").read_text())["fits"]
    assert fits["compare"]["temperature"] == pytest.approx(2, abs=1e-4)
    assert fits["score"]["temperature"] < 0.1 and fits["score"]["n"] == 10  # always right
    (tmp_path / "ckpt.pt").write_bytes(b"another")
    done = calibrate(*files, *common, cwd=tmp_path)
    assert done.returncode == 2 and "calibration.json: fitted to another delta than ckpt.pt" in done.stderr


def test_nothing_is_written_where_answers_are_missing(save, tmp_path):
    save("gt", [{"id": n, "answer": "Image A"} for n in range(3)])
    save("pred", [{"id": n, "text": "Image A", "confidence": 0.9} for n in range(2)])
    files = ("--pred_path", "pred.json", "--gt_path", "gt.json", "--out", "calibration.json")
    done = calibrate(*files, cwd=tmp_path)
    assert done.returncode == 2 and "1 answers have no prediction (see --allow_missing): 2" in done.stderr
    assert not (tmp_path / "calibration.json").exists()
    assert calibrate(*files, "--allow_missing", cwd=tmp_path).returncode == 0
