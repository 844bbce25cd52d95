"""Speed of inference: `python benchmarks/infer.py` (two minutes on two cores; four with `--confidence`).

The pairs of a vote (KADID-10k, CSIQ, TID2013) compare distorted pictures of one reference, sorted by reference and Image A.
Here so many distorted pictures of a reference, each with each; answers of at most `--tokens` tokens. The ways take turns:

    shared     batches; a beginning that pairs have in common, reference and Image A, is read once (what infer.py does)
    batches    batches of whole prompts
    singles    a pair at a time

With `--confidence` a question does not ask for a word, and its short answer's confidence is that of a follow-up, which does:

    shared     the follow-up reads what is new in its prompt
    whole      it reads its whole prompt
    singles    the same, a pair at a time

Image features are computed once per picture in all of them. Random weights answer nonsense as fast as trained ones.
"""

import argparse
import itertools
import statistics
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
import torch

from depictqa.data.images import open_image
from depictqa.inference import sharing
from depictqa.inference.assessor import Assessor, Question
from depictqa.inference.sampling import Sampling
from depictqa.model.build import DTYPES
from depictqa.prompts import SINGLE_WORD_REQUEST, TASKS
from train import SHAPES, make_items, make_model

QUESTION = "Compared with the reference, which image has the better quality, Image A or Image B?"
WHOLE = {
    "LEAST_SAVED": float("inf"),
    "shared_tokens": lambda *_: 0,
}  # of `sharing`: everything is read for every question
VOTE = {"shared": (16, WHOLE | {"LEAST_SAVED": sharing.LEAST_SAVED}), "batches": (16, WHOLE), "singles": (1, WHOLE)}
CONFIDENCE = {
    "shared": (16, WHOLE | {"shared_tokens": sharing.shared_tokens}),
    "whole": (16, WHOLE),
    "singles": (1, WHOLE),
}


def ask(assessor: Assessor, pairs: list[Question], batch: int, tokens: int, confidence: bool) -> tuple[float, list]:
    """(pairs a second, the answers' ids)."""
    start, answers = time.perf_counter(), []
    for first in range(0, len(pairs), batch):
        for assessment in assessor.assess(pairs[first : first + batch], Sampling(max_new_tokens=tokens), confidence):
            answers.append([answer.output_id for answer in (assessment.answer, assessment.answer.second) if answer])
    return len(pairs) / (time.perf_counter() - start), answers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", choices=[*SHAPES, "nano"], default="30m")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--dtype", nargs="+", choices=DTYPES, help="one or several; default: fp32 on cpu, bf16 on cuda")
    parser.add_argument(
        "--pictures", type=int, default=9, help="distorted pictures of the reference (default: 9, 36 pairs)"
    )
    parser.add_argument("--tokens", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--confidence", action="store_true", help="questions that need a follow-up for their confidence"
    )
    args = parser.parse_args()
    ways, query = (CONFIDENCE, QUESTION) if args.confidence else (VOTE, QUESTION + SINGLE_WORD_REQUEST)
    dtypes = args.dtype or ["bf16" if args.device == "cuda" else "fp32"]
    assessors = {}
    for dtype in dtypes:
        torch.manual_seed(0)
        model, preprocess = make_model(args.model, torch.device(args.device), DTYPES[dtype], "sdpa")
        model.llm.merge_adapter()
        if args.model != "nano":  # ids that the tokenizer of the tests knows are below 600
            model.llm.get_base_model().lm_head.weight.data[600:] = 0
        assessors[dtype] = Assessor(model)
    with tempfile.TemporaryDirectory() as folder:
        paths = [path for item in make_items(Path(folder), args.pictures // 3 + 1) for path in item.image_paths]
        reference, *images = [preprocess(open_image(path)) for path in paths[: args.pictures + 1]]
    task = TASKS["quality_compare"]
    pairs = [Question(task, (reference, a, b), query) for a, b in itertools.combinations(images, 2)]
    assessor = assessors[dtypes[0]]
    length = len(assessor.fuse(pairs[:1], assessor.embed(pairs[:1]))[0])
    rates, answers = {run: [] for run in itertools.product(dtypes, ways)}, {}
    for number in range(args.rounds + 1):  # the first is not counted
        for dtype, way in rates:
            batch, settings = ways[way]
            for name, value in settings.items():
                setattr(sharing, name, value)
            rate, answers[dtype, way] = ask(assessors[dtype], pairs, batch, args.tokens, args.confidence)
            rates[dtype, way] += [rate] if number else []
    plain = (dtypes[0], "singles")
    print(f"{args.model}, {args.device}; {len(pairs)} pairs, {length} tokens a prompt; medians of {args.rounds}")
    print(f"| way | numbers | pairs/s | beside {' '.join(plain)} | same answers |\n|---|---|---|---|---|")
    medians = {run: statistics.median(found) for run, found in rates.items()}
    for (dtype, way), median in medians.items():
        equal = sum(a == b for a, b in zip(answers[dtype, way], answers[plain]))
        print(f"| {way} | {dtype} | {median:.2f} | {median / medians[plain]:.2f} | {equal} of {len(pairs)} |")


if __name__ == "__main__":
    main()
