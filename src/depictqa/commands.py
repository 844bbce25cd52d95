"""The command lines of inference and training, which `src/infer.py`, `src/train.py` and `depictqa` share.

Torch is loaded after the arguments are read, so that --help is instant.
"""

import argparse

from depictqa.environment import importing_torch
from depictqa.errors import exit_cleanly
from depictqa.prompts import TASKS


@exit_cleanly
def infer_command() -> None:
    """Answer the questions of meta files."""
    parser = argparse.ArgumentParser(
        description="Answer the questions of one or more meta files (json lists of id, image_ref, image_A, image_B, query). "
        "Writes {answer_dir}/{task}_{dataset}.jsonl while it runs and .json at the end; a killed run continues. "
        "`torchrun` starts it as several processes, one a GPU.",
    )
    tasks = [task.name for task in TASKS.values() if task.inference]
    _add_config(parser)
    parser.add_argument("--meta_path", nargs="+", metavar="JSON", help="meta files, relative to data.root_dir")
    parser.add_argument("--dataset_name", nargs="+", metavar="NAME", help="a name each, for the answer files")
    parser.add_argument(
        "--task_name", nargs="+", metavar="TASK", help=f"one for all, or one each, of: {', '.join(tasks)}"
    )
    parser.add_argument("--batch_size", type=int, metavar="B", help="questions answered at a time")
    args = parser.parse_args()

    with importing_torch():
        from depictqa.inference.program import infer

    infer(args.cfg, args.set, args.meta_path, args.dataset_name, args.task_name, args.batch_size)


@exit_cleanly
def train_command() -> None:
    """Train on the mixture of a config."""
    parser = argparse.ArgumentParser(
        description="Train projector, abstractor and LoRA on the meta files of data.train. Plain `python` is one process; "
        "the launchers `deepspeed` and `torchrun` start several. Deltas go to train.save_dir, with the state that a "
        "killed run continues from; curves go to train.log_dir.",
    )
    _add_config(parser)
    parser.add_argument(
        "--resume",
        metavar="auto|PATH",
        help="auto: continue from the newest good state of train.save_dir, where there is one; or a state's folder",
    )
    parser.add_argument("--local_rank", help=argparse.SUPPRESS)  # the deepspeed launcher gives it; we read LOCAL_RANK
    args = parser.parse_args()

    with importing_torch():
        from depictqa.training.program import train

    train(args.cfg, args.set, args.resume)


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cfg", default="config.yaml", help="the experiment's config.yaml (default: here)")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="override keys of the config")
