"""What `train.length_window` saves: `python benchmarks/padding.py --cfg config.yaml`.

Deals the mixture of a config to micro batches, as train.py does, and says which share of their positions is padding.
Lengths are those of the tokenizer's ids and of pictures of `vision_preprocess.resize` squared (or the abstractor's
tokens); pictures are not opened.
"""

import argparse

from depictqa.config import load_config, parse_overrides
from depictqa.data.training import MicroBatches, TrainingItem, estimate_tokens, read_mixture
from depictqa.model.llm import as_folder
from depictqa.model.tokenizer import Tokenizer, load_tokenizer
from depictqa.prompts import FORMATS, Format, render, render_answer, render_question


def count_tokens(item: TrainingItem, tokenizer: Tokenizer, format: Format, tokens_per_image: int) -> int:
    (question, answer), *rest = item.turns
    pieces = [*render(item.task, question, format, unique_tag=True).pieces, render_answer(answer, format)]
    for question, answer in rest:
        pieces += [render_question(question, format), render_answer(answer, format)]
    return sum(len(tokenizer.encode(piece)) for piece in pieces) + len(item.image_paths) * tokens_per_image


def padding_share(batches: MicroBatches, lengths: list[int]) -> float:
    used = positions = 0
    for batch in batches:
        found = [lengths[index] for _, index in batch]
        used, positions = used + sum(found), positions + len(found) * max(found)
    return 1 - used / positions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cfg", required=True)
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE")
    parser.add_argument("--update", type=int, default=16, help="samples of an update")
    parser.add_argument("--micro_batch", type=int, nargs="+", default=[4, 16])
    parser.add_argument("--window", type=int, nargs="+", default=[1, 4, 16, 64])
    args = parser.parse_args()
    config = load_config(args.cfg, parse_overrides(args.set))
    items = read_mixture(config.data.train.meta_paths_weights, config.data.root_dir, args.cfg, check_images=False)
    size, abstractor = config.vision_preprocess, config.model.abstractor
    tokens_per_image = (size.resize // size.patch_size) ** 2 if abstractor is None else abstractor.num_query
    tokenizer, format = load_tokenizer(as_folder(config.model.llm_path)), FORMATS[config.model.llm_conv_type]
    lengths = [count_tokens(item, tokenizer, format, tokens_per_image) for item in items]
    estimates = [estimate_tokens(item, tokens_per_image) for item in items]
    print(f"{len(items)} samples of {min(lengths)} to {max(lengths)} tokens, mean {sum(lengths) / len(lengths):.0f}")
    print(f"{'micro batch':>11} {'unsorted':>9}" + "".join(f"{f'window {window}':>11}" for window in args.window))
    for micro_batch in args.micro_batch:
        count, steps = len(items) // micro_batch, args.update // micro_batch

        def share(lengths_known: list[int], window: int, size=micro_batch, count=count, steps=steps) -> float:
            return padding_share(MicroBatches(lengths_known, size, steps, 0, 1, config.seed, 0, count, window), lengths)

        shares = [share([1] * len(items), 1), *(share(estimates, window) for window in args.window)]
        print(f"{micro_batch:11} {shares[0]:9.1%}" + "".join(f"{value:11.1%}" for value in shares[1:]))


if __name__ == "__main__":
    main()
