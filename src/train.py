"""Train on the mixture of a config: `python src/train.py --cfg config.yaml`, or by `deepspeed` or `torchrun`."""

import argparse

from depictqa.errors import exit_cleanly


@exit_cleanly
def main() -> None:
    parser = argparse.ArgumentParser(
        description="Train projector, abstractor and LoRA on the meta files of data.train. Plain `python` is one process; "
        "the launchers `deepspeed` and `torchrun` start several. Deltas go to train.save_dir, with the state that a "
        "killed run continues from; curves go to train.log_dir.",
    )
    parser.add_argument("--cfg", default="config.yaml", help="the experiment's config.yaml (default: here)")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="override keys of the config")
    parser.add_argument(
        "--resume",
        metavar="auto|PATH",
        help="auto: continue from the newest good state of train.save_dir, where there is one; or a state's folder",
    )
    parser.add_argument("--local_rank", help=argparse.SUPPRESS)  # the deepspeed launcher gives it; we read LOCAL_RANK
    args = parser.parse_args()

    from depictqa.training.program import train  # torch loads only now, so that --help is instant

    train(args.cfg, args.set, args.resume)


if __name__ == "__main__":
    main()
