"""Figures of 178,500 answers beside plain programs for the same figures: `python benchmarks/evaluation.py`.

TID2013's size: 25 references of 120 images, every pair once, answers with a confidence. `voting` is SRCC and PLCC: ours
is `cal_srcc_plcc_voting.py`, the plain program loads the three files, looks up each pair, appends two votes to lists, and
takes means, ranks and the 4-parameter fit from numpy and scipy, as the original does. `accuracy` is that of the same
answers by intervals of confidence: `cal_acc_rating.py`, and a plain loop with a dictionary. All are whole programs,
Python's start and all imports included; they take turns, and seconds are CPU time of the process (the fastest of
`--rounds`), which a busy machine disturbs least. They must print the same figures, PLCC within 1e-6 (the fit creeps: where it stops depends on the last bit).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from bisect import bisect_left
from itertools import combinations
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
REFERENCES, IMAGES = 25, 120
BORDERS = (0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1)


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
            asked["answer"] = "Image A" if quality[a] > quality[b] else "Image B"
            comparisons.append({"id": key} | asked)
            answer = {"text": f"Image {better}", "output_id": None, "prob": None}
            confidence = {"confidence": float(generator.uniform(0.5, 1)), "finish_reason": "stop"}
            predictions.append({"id": key} | answer | confidence)
    for name, value in (("test", comparisons), ("pred", predictions), ("gt", opinions)):
        (folder / f"{name}.json").write_text(json.dumps(value, indent=2))


def plain_voting(folder: Path) -> None:
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


def plain_accuracy(folder: Path) -> None:
    with open(folder / "test.json") as file:
        answers = {item["id"]: item["answer"] for item in json.load(file)}
    with open(folder / "pred.json") as file:
        predictions = json.load(file)
    groups: list[list[bool]] = [[] for _ in BORDERS[1:]]
    for item in predictions:
        place = bisect_left(BORDERS, round(item["confidence"], 6)) - 1
        groups[place].append(item["text"].strip() == answers[item["id"]])
    for low, high, right in zip(BORDERS, BORDERS[1:], groups):
        line = f"Confidence Interval [{low},{high}], {len(right)} Samples"
        print(line + (f", Accuracy: {round(sum(right) / len(right), 4)}" if right else ""))
    print(f"Average Accuracy: {round(sum(map(sum, groups)) / len(predictions), 4)}")


def timed(command: list[str]) -> tuple[float, list[str]]:
    """CPU seconds of a program, and the figures it prints, a line each."""
    before = os.times()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    after = os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return spent, [line for line in done.stdout.splitlines() if line.startswith(("SRCC", "PLCC", "Conf", "Aver"))]


def agree(ours: list[str], plain: list[str]) -> bool:
    pairs = [(one.split(":  "), other.split(":  ")) for one, other in zip(ours, plain, strict=True)]
    near = [len(one) == len(other) == 2 and abs(float(one[1]) - float(other[1])) < 1e-6 for one, other in pairs]
    return all(one == other or (one[0] == "PLCC" and close) for (one, other), close in zip(pairs, near))


PLAIN = {"voting": plain_voting, "accuracy": plain_accuracy}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--plain", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.plain:
        PLAIN[args.plain[0]](Path(args.plain[1]))
        return
    with tempfile.TemporaryDirectory() as folder:
        write_votes(Path(folder))
        test, pred, gt = (f"{folder}/{name}.json" for name in ("test", "pred", "gt"))
        programs = ROOT / "src" / "eval"
        voting = ["--test_paths", test, "--pred_paths", pred, "--gt_paths", gt, "--confidence"]
        accuracy = ["--pred_path", pred, "--gt_path", test, "--confidence"]
        ours = {
            "voting": [str(programs / "cal_srcc_plcc_voting.py"), *voting],
            "accuracy": [str(programs / "cal_acc_rating.py"), *accuracy],
        }
        for name, command in ours.items():
            seconds: list[tuple[float, float]] = []
            for _ in range(args.rounds):
                one, figures = timed([sys.executable, *command])
                other, plain_figures = timed([sys.executable, __file__, "--plain", name, folder])
                assert agree(figures, plain_figures), (figures, plain_figures)
                seconds.append((one, other))
            best, plain = map(min, zip(*seconds))
            print(f"{name}: ours {best:.2f} s, plain {plain:.2f} s of CPU time: {plain / best:.2f} times as fast")


if __name__ == "__main__":
    main()
