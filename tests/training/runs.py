"""Tiny training runs: a model of 0.9 M parameters on eighteen conversations about golden pictures."""

import contextlib
import io
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from conftest import DATA, tiny_config
from processes import GIVE_UP_SECONDS

SRC = Path(__file__).parents[2] / "src"
PICTURES = ("s10_84x84.png", "s11_84x84.png", "s06_33x47.png", "s16_dist_128x96.png")
TASKS = ("quality_compare", "quality_single_A_noref", "description")
DEEPSPEED = {
    "train_micro_batch_size_per_gpu": 2,
    "gradient_accumulation_steps": 2,
    "gradient_clipping": 1.0,
    "optimizer": {"type": "Adam", "params": {"lr": 2e-4, "betas": [0.9, 0.95], "eps": 1e-8, "weight_decay": 1e-3}},
    "scheduler": {"type": "WarmupDecayLR", "params": {"warmup_min_lr": 1e-8, "warmup_max_lr": 2e-4}},
}


def make_items(count: int = 18) -> list[dict]:
    """Three tasks in turn, answers of unequal lengths."""
    items = []
    for number in range(count):
        first, second, third = (PICTURES[(number + step) % len(PICTURES)] for step in range(3))
        answer = "Image A." if number % 2 else "The picture is noisy, and its colours are pale."
        turns = [{"from": "human", "value": f"Question {number}?"}, {"from": "gpt", "value": answer}]
        item = {"id": number, "task_type": TASKS[number % 3], "conversations": turns}
        images = {"image": first} if item["task_type"] == "description" else {}
        images = images or {"image_ref": first, "image_A": second, "image_B": third}
        items.append(item | images)
    return items


def make_run(folder: Path, items: list[dict] | None = None, model: str = "base", **sections) -> Path:
    """Write metas and config.yaml of a run; `sections` are merged over the config. Returns the config's path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "meta.json").write_text(json.dumps(make_items() if items is None else items), encoding="utf-8")
    sections["data"] = {
        "num_workers": 0,
        "root_dir": str(DATA / "images"),
        "train": {"meta_paths_weights": [[str(folder / "meta.json"), 1]]},
        **sections.get("data", {}),
    }
    sections["deepspeed"] = {**DEEPSPEED, **sections.get("deepspeed", {})}
    return tiny_config(folder, model, **sections)


def torchrun(processes: int, *options: str) -> list[str]:
    """The launcher's part of a command line."""
    return ["-m", "torch.distributed.run", f"--nproc_per_node={processes}", *(options or ["--standalone"])]


def start(
    config: Path,
    *arguments: str,
    launcher: Sequence[str] = (),
    program: Sequence[str] = (str(SRC / "train.py"),),
    output: str = "output",
    **options,
) -> subprocess.Popen:
    """Start train.py, plain or under a launcher. What it prints goes to the file `output` beside the config.

    Args:
        options: of `subprocess.Popen`.
    """
    with open(config.parent / output, "w", encoding="utf-8") as file:
        return subprocess.Popen(
            [sys.executable, *launcher, *program, "--cfg", str(config), *arguments],
            stdout=file,
            stderr=subprocess.STDOUT,
            **options,
        )


def interrupt(config: Path, name: str, forward_pass: int, launcher: Sequence[str] = ()) -> int:
    """Run train.py until the signal `name` comes before its n-th forward pass; its exit code."""
    program = [str(Path(__file__).with_name("interrupted.py")), name, str(forward_pass)]
    return start(config, launcher=launcher, program=program, start_new_session=True).wait(GIVE_UP_SECONDS)


def launch(config: Path, *arguments: str, launcher: Sequence[str] = (), code: int = 0) -> str:
    """Run train.py to its end; what it printed. Fails unless it exits with `code`."""
    process = start(config, *arguments, launcher=launcher)
    assert process.wait(GIVE_UP_SECONDS) == code, output_of(config)
    return output_of(config)


def train(config: Path, *overrides: str, resume: str | None = None) -> str:
    """Train in this process, which is quicker; what was printed on stdout. Raises what training raises."""
    import torch

    from depictqa.training.program import train

    torch.set_num_threads(1)
    with contextlib.redirect_stdout(io.StringIO()) as output:
        train(str(config), list(overrides), resume)
    return output.getvalue()


def output_of(config: Path) -> str:
    return (config.parent / "output").read_text(encoding="utf-8")


def metrics_of(config: Path) -> list[dict]:
    """The lines of metrics.jsonl without what depends on the clock."""
    lines = (config.parent / "log" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [{key: value for key, value in json.loads(line).items() if key != "samples_per_s"} for line in lines]
