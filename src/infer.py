"""Answer the questions of meta files: `python src/infer.py --cfg config.yaml --meta_path ... --task_name ...`."""

import argparse

from depictqa.errors import exit_cleanly
from depictqa.prompts import TASKS


@exit_cleanly
def main() -> None:
    parser = argparse.ArgumentParser(
        description="Answer the questions of one or more meta files (json lists of id, image_ref, image_A, image_B, query). "
        "Writes {answer_dir}/{task}_{dataset}.jsonl while it runs and .json at the end; a killed run continues.",
    )
    tasks = [task.name for task in TASKS.values() if task.inference]
    parser.add_argument("--cfg", default="config.yaml", help="the experiment's config.yaml (default: here)")
    parser.add_argument("--meta_path", nargs="+", metavar="JSON", help="meta files, relative to data.root_dir")
    parser.add_argument("--dataset_name", nargs="+", metavar="NAME", help="a name each, for the answer files")
    parser.add_argument("--task_name", nargs="+", metavar="TASK", help=f"one for all, or one each, of: {', '.join(tasks)}")
    parser.add_argument("--batch_size", type=int, metavar="B", help="questions answered at a time")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="override keys of the config")
    args = parser.parse_args()

    from depictqa.inference.program import infer  # torch loads only now, so that --help is instant

    infer(args.cfg, args.set, args.meta_path, args.dataset_name, args.task_name, args.batch_size)


if __name__ == "__main__":
    main()
