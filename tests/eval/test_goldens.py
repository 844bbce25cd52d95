"""The entry points of the evaluation against the golden runs of the original, as programs."""

import pytest

from tests.evaluation.goldens import EVAL, PAIRS, RUNS, run_script

SUCCEEDED = [name for name, run in RUNS.items() if run["exit_status"] == 0]
CRASHED = [name for name, run in RUNS.items() if run["exit_status"] != 0]
STRICT = {"multi_plain", "multi_confidence"}  # the data hold "Noiseandblur" and "noise AND blur"

# name -> what the one line on stderr must say: the original dropped or doubled these in silence
FAULTY = {
    "rating_plain": "1 ids occur more than once in the predictions: s0; ",
    "single_confidence": "1 answers have no prediction (see --allow_missing): s2",
    "voting_last_prediction_missing_is_silently_dropped": "1 answers have no prediction",
}
MESSAGES = {
    "single_confidence_with_null": "1 predictions have no confidence (run infer.py with --set infer.output_confidence=true): s2",
    "single_confidence_below_first_border": "1 predictions have a confidence outside (0.2, 1.0]: s12 (1e-06)",
    "confidence_exactly_zero": "1 predictions have a confidence outside (0, 1]: s0 (0.0)",
    "confidence_above_one": "1 predictions have a confidence outside (0, 1]: s0 (1.00001)",
    "confidence_key_missing_even_without_flag": "1 predictions lack the field 'confidence' (a number or null): s0",
    "no_matching_sample": "none of the 0 predictions has an id of the 16 answers",
    "wrong_suffix": "rating_gt.txt: expected a file named .json",
    "voting_bad_answer": "item v0076: the field 'text' must be 'Image A' or 'Image B', found 'Image C'",
    "voting_missing_prediction": "1 answers have no prediction (see --allow_missing): v0076",
}


def assert_same_lines(printed: str, golden: str) -> None:
    """Equal, but for the last digits of the PLCC: the logistic fit stops within 1e-8, where exactly is rounding."""
    printed_lines, golden_lines = printed.splitlines(), golden.splitlines()
    assert len(printed_lines) == len(golden_lines)
    for ours, theirs in zip(printed_lines, golden_lines):
        if theirs.startswith("PLCC:  "):
            assert ours.startswith("PLCC:  ")
            assert float(ours.split()[1]) == pytest.approx(float(theirs.split()[1]), abs=1e-8)
        else:
            assert ours == theirs


@pytest.mark.slow
@pytest.mark.parametrize("name", SUCCEEDED)
def test_strict_original_prints_the_golden_lines(name):
    run = RUNS[name]
    done = run_script(run["script"], *run["args"], "--strict_original")
    assert done.returncode == 0, done.stderr
    assert_same_lines(done.stdout, run["stdout"])


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in SUCCEEDED if name not in STRICT])
def test_default_prints_the_golden_lines(name):
    run = RUNS[name]
    done = run_script(run["script"], *run["args"])
    assert_same_lines(done.stdout, run["stdout"])
    assert done.returncode == (2 if done.stderr.startswith("error:") or "\nerror:" in done.stderr else 0)
    if name in FAULTY:
        assert done.returncode == 2
        assert FAULTY[name] in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", CRASHED)
def test_where_the_original_crashed_one_line_says_why(name):
    run = RUNS[name]
    done = run_script(run["script"], *run["args"])
    assert done.returncode == 2
    errors = done.stderr.splitlines()
    assert len([line for line in errors if line.startswith("error: ")]) == 1
    assert "Traceback" not in done.stderr
    assert MESSAGES[name] in done.stderr


@pytest.mark.parametrize("pair", PAIRS, ids=[f"{p['pred_text']!r}" for p in PAIRS])
def test_multi_pairs(pair):
    from depictqa.evaluation import accuracy

    expected = float(pair["stdout_last"].removeprefix("Average Accuracy: "))
    assert (
        round(accuracy.TASKS["multi_distortion_strict"].score(pair["pred_text"].strip(), pair["gt_answer"]), 4)
        == expected
    )


@pytest.mark.slow
def test_allow_missing_counts_as_wrong(tmp_path):
    arguments = ("--pred_path", "single_pred_noNone.json", "--gt_path", "single_gt.json", "--allow_missing")
    done = run_script("cal_acc_single_distortion.py", *arguments, "--json", tmp_path / "out.json")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "Average Accuracy: 0.3571"  # 5 of 14
    assert '"accuracy": 0.357142' in (tmp_path / "out.json").read_text()


@pytest.mark.slow
def test_a_fault_leaves_no_json(tmp_path):
    arguments = ("--pred_path", "rating_pred.json", "--gt_path", "rating_gt.json", "--json", tmp_path / "out.json")
    assert run_script("cal_acc_rating.py", *arguments).returncode == 2
    assert not (tmp_path / "out.json").exists()


@pytest.mark.slow
def test_runs_from_its_own_folder():
    done = run_script(
        "cal_acc_rating.py",
        *("--pred_path", EVAL / "rating_pred.jsonl", "--gt_path", EVAL / "rating_gt.json", "--strict_original"),
        cwd=EVAL.parents[2] / "src" / "eval",
    )
    assert done.returncode == 0 and done.stdout == RUNS["rating_plain"]["stdout"]
