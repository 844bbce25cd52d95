"""SRCC and PLCC of 178,500 votes beside a plain program for the same figures: `python benchmarks/evaluation.py`.

TID2013's size: 25 references of 120 images, every pair once, answers with a confidence. `ours` is
`cal_srcc_plcc_voting.py`. `plain` does what the original program does: it loads the three files, looks up each pair,
appends two votes to lists, and takes means, ranks and the 4-parameter fit from numpy and scipy. Both are whole programs,
Python's start and all imports included; they take turns, and seconds are CPU time of the process (the fastest of
`--rounds`), which a busy machine disturbs least. They must print the same SRCC, and the same PLCC within 1e-6 (the fit creeps: where it stops depends on the last bit).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from itertools import combinations
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
REFERENCES, IMAGES = 25, 120


def write_votes(folder: Path) -> None:
    """Questions, answers and opinions, in files as infer.py writes them."""
    import numpy as np

    generator = np.random.default_rng(0)
    comparisons, predictions, opinions = [], [], {}
    for number in range(REFERENCES):
        reference = f"TID2013/reference_images/I{number + 1:02d}.BMP"
        names = [f"TID2013/distorted_images/i{number + 1:02d}_{i // 5 + 1:02d}_{i % 5 + 1}.bmp" for i in range(IMAGES)]
        quality = generator.normal(size=IMAGES)
        opinions[reference] = {"dist_paths": names, "mos_list": (quality + generator.normal(0, 0.2, IMAGES)).tolist()}
        for a, b in combinations(generator.permutation(IMAGES).tolist(), 2):
            key, better = len(comparisons), "A" if generator.normal(quality[a] - quality[b]) > 0 else "B"
            asked = {"image_ref": reference, "image_A": names[a], "image_B": names[b], "query": "Which is better?"}
            comparisons.append({"id": key} | asked)
            answer = {"text": f"Image {better}", "output_id": None, "prob": None}
            confidence = {"confidence": float(generator.uniform(0.5, 1)), "finish_reason": "stop"}
            predictions.append({"id": key} | answer | confidence)
    for name, value in (("test", comparisons), ("pred", predictions), ("gt", opinions)):
        (folder / f"{name}.json").write_text(json.dumps(value, indent=2))


def plain(folder: Path) -> None:
    """The figures as one writes the program first."""
    import numpy as np
    from scipy.optimize import curve_fit
    from scipy.stats import pearsonr, spearmanr

    with open(folder / "test.json") as file:
        comparisons = json.load(file)
    with open(folder / "pred.json") as file:
        predictions = json.load(file)
    with open(folder / "gt.json") as file:
        opinions = json.load(file)
    assert len(comparisons) == len(predictions)
    answers = {item["id"]: item for item in predictions}
    votes = {reference: {path: [] for path in table["dist_paths"]} for reference, table in opinions.items()}
    for item in comparisons:
        answer = answers[item["id"]]
        text = answer["text"].strip()
        assert text in ("Image A", "Image B")
        share = answer["confidence"] if text == "Image A" else 1 - answer["confidence"]
        votes[item["image_ref"]][item["image_A"]].append(share)
        votes[item["image_ref"]][item["image_B"]].append(1 - share)

    def logistic(x, high, low, middle, width):
        return (high - low) / (1 + np.exp(-(x - middle) / np.abs(width))) + low

    srccs, plccs = [], []
    for reference, table in opinions.items():
        scores = np.array([np.mean(votes[reference][path]) for path in table["dist_paths"]])
        target = np.array(table["mos_list"])
        srccs.append(spearmanr(scores, target)[0])
        start = [target.max(), target.min(), scores.mean(), 0.5]
        fitted, _ = curve_fit(logistic, scores, target, p0=start, maxfev=20_000)
        plccs.append(pearsonr(logistic(scores, *fitted), target)[0])
    print(f"SRCC:  {np.mean(srccs)}\nPLCC:  {np.mean(plccs)}")


def timed(command: list[str]) -> tuple[float, dict[str, float]]:
    """CPU seconds of a program, and the figures it prints."""
    before = os.times()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    after = os.times()
    lines = dict(line.split(":  ") for line in done.stdout.splitlines() if line.startswith(("SRCC", "PLCC")))
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return spent, {name: float(value) for name, value in lines.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--plain", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.plain:
        plain(args.plain)
        return
    with tempfile.TemporaryDirectory() as folder:
        write_votes(Path(folder))
        test, pred, gt = (f"{folder}/{name}.json" for name in ("test", "pred", "gt"))
        program = str(ROOT / "src" / "eval" / "cal_srcc_plcc_voting.py")
        commands = {
            "ours": [program, "--test_paths", test, "--pred_paths", pred, "--gt_paths", gt, "--confidence"],
            "plain": [__file__, "--plain", folder],
        }
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        figures: dict[str, dict[str, float]] = {}
        for _ in range(args.rounds):
            for name, command in commands.items():
                spent, figures[name] = timed([sys.executable, *command])
                seconds[name].append(spent)
    assert figures["ours"]["SRCC"] == figures["plain"]["SRCC"], figures
    assert abs(figures["ours"]["PLCC"] - figures["plain"]["PLCC"]) < 1e-6, figures
    ours, plain_seconds = min(seconds["ours"]), min(seconds["plain"])
    print(f"ours {ours:.2f} s, plain {plain_seconds:.2f} s of CPU time: {plain_seconds / ours:.2f} times as fast")


if __name__ == "__main__":
    main()
