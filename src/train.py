"""Train on the mixture of a config: `python src/train.py --cfg config.yaml`, or by `deepspeed` or `torchrun`."""

from depictqa.commands import train_command

if __name__ == "__main__":
    train_command()
