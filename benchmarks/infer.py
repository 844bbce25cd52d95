"""Speed and memory of inference beside the original's way: `python benchmarks/infer.py` (eight minutes on two quiet cores).

`ours` is the program `infer.py`. `original` is `benchmarks/original.py`: transformers' generate, pictures decoded and encoded
for each item, batches only where pictures have one size, a second question from scratch. Both answer the same meta files:

    brief       64 questions about one picture each, of mixed or equal sizes; short answers
    follow-up   the same without the request for a word, so that a confidence needs a second question
    detail      24 comparisons with a reference, of mixed or equal sizes; long answers
    voting      264 pairs: 4 references with 12 distorted pictures, each pair of them (of the original, one reference)

Each measurement is a process of its own; loading is not counted, and a few questions warm it up. Model `58m` is a Llama of 512
x 8 layers with random weights and Nano's encoder without its abstractor: it answers nonsense as fast as sense, to the
last token that is allowed. `nano` has its own weights. The floor is what distinct pictures, distinct beginnings of prompts
and the answers' tokens take at the rate of a large matrix product, measured in the same process; `share` is floor / time.
`--busy` measures beside a process that keeps one core busy.
"""

import argparse
import contextlib
import itertools
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast
from unittest.mock import patch

from depictqa.environment import importing_torch
from depictqa.prompts import SINGLE_WORD_REQUEST, TASKS

if TYPE_CHECKING:
    from depictqa.data.meta import Item

ROOT = Path(__file__).resolve().parents[1]
WAYS = ("ours", "original")
SIZES = (
    (300, 400),
    (240, 320),
    (400, 300),
    (256, 256),
    (224, 448),
    (360, 270),
    (512, 341),
    (300, 200),
)  # width, height
BATCH = 16
NAME = "What is the main distortion in this image?"
BETTER = "Compared with the reference, which image has the better quality, Image A or Image B?"
WHY = "Compare Image A and Image B with the reference: which is better, and what distortions do they show?"


class Job(NamedTuple):
    task: str
    query: str
    items: int
    mixed: bool  # sizes of the pictures
    tokens: int  # of an answer, at most
    of_original: int  # items that the original is asked: its rate does not depend on how many there are
    confidence: bool = False


JOBS = {
    "brief, mixed": Job("quality_single_A_noref", NAME + SINGLE_WORD_REQUEST, 64, True, 6, 64),
    "brief, equal": Job("quality_single_A_noref", NAME + SINGLE_WORD_REQUEST, 64, False, 6, 64),
    "follow-up": Job("quality_single_A_noref", NAME, 64, False, 6, 64, confidence=True),
    "detail, mixed": Job("quality_compare", WHY, 24, True, 64, 24),
    "detail, equal": Job("quality_compare", WHY, 24, False, 64, 24),
    "voting": Job("quality_compare", BETTER + SINGLE_WORD_REQUEST, 264, False, 4, 66),
}


def write_meta(job: Job, folder: Path) -> Path:
    """Pictures, smooth noise that decodes as photographs do, and the questions about them."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)

    def draw(size: tuple[int, int]) -> str:
        path = folder / f"{len(list(folder.glob('*.png')))}.png"
        coarse = Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8))
        coarse.resize(size, Image.Resampling.BICUBIC).save(path)
        return path.name

    if job.items == 264:
        groups = [(draw(SIZES[0]), [draw(SIZES[0]) for _ in range(12)]) for _ in range(4)]
        pictures = [(reference, *pair) for reference, some in groups for pair in itertools.combinations(some, 2)]
    else:
        sizes = itertools.islice(itertools.cycle(SIZES if job.mixed else SIZES[:1]), job.items)
        pictures = [tuple(draw(size) for _ in TASKS[job.task].fields) for size in sizes]
    items = [
        dict.fromkeys(("image_ref", "image_A", "image_B")) | dict(zip(TASKS[job.task].fields, names, strict=True))
        for names in pictures
    ]
    path = folder / "meta.json"
    path.write_text(json.dumps([{"id": i, "query": job.query} | item for i, item in enumerate(items)]))
    return path


def write_random_model(folder: Path) -> Path:
    """An experiment's config.yaml, with the files of a random model beside it."""
    import torch
    import yaml
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection, LlamaConfig, LlamaForCausalLM

    from depictqa.config import load_config
    from depictqa.model.build import build_model
    from depictqa.model.delta import save_delta

    torch.manual_seed(0)
    shape = LlamaConfig(
        vocab_size=32_000, hidden_size=512, intermediate_size=1376, num_hidden_layers=8, num_attention_heads=8
    )
    llm = LlamaForCausalLM(shape)
    llm.lm_head.weight.data[600:] = 0  # ids that the tokenizer of the tests knows are below 600
    tokenizer = ROOT / "tests" / "data" / "artifacts" / "llm_tiny"
    shutil.copytree(tokenizer, folder / "llm", ignore=shutil.ignore_patterns("*.safetensors", "*config.json"))
    shutil.copy(tokenizer / "tokenizer_config.json", folder / "llm")
    llm.save_pretrained(folder / "llm")
    vision = CLIPVisionConfig(
        hidden_size=256,
        intermediate_size=1024,
        num_hidden_layers=6,
        num_attention_heads=4,
        patch_size=14,
        projection_dim=256,
    )
    CLIPVisionModelWithProjection(vision).save_pretrained(folder / "clip")  # 5 M parameters
    model = {"vision_encoder_path": "clip", "llm_path": "llm", "delta_path": "delta.pt"}
    (folder / "config.yaml").write_text(yaml.safe_dump({"model": model}))
    config = load_config(folder / "config.yaml")
    model = build_model(config, torch.device("cpu"), torch.float32, delta=False)
    for name, weight in model.llm.named_parameters():
        if ".lora_B" in name:
            torch.nn.init.normal_(weight, std=1e-2)
    save_delta(model, folder / "delta.pt")
    return folder / "config.yaml"


def measure(way: str, name: str, config_path: Path, dtype: str, folder: Path) -> dict:
    """One process's measurement."""
    job, meta = JOBS[name], folder / "meta.json"
    with importing_torch() if way == "ours" else contextlib.nullcontext():
        import torch

        from depictqa.config import load_config
        from depictqa.inference import program
        from depictqa.model.build import DTYPES, build_preprocessor

    settings = {
        "data.root_dir": str(folder),
        "dtype": dtype,
        "infer.answer_dir": str(folder / f"answers_{dtype}_{name}"),
        "infer.max_new_tokens": job.tokens,
        "infer.output_prob_id": True,
        "infer.output_confidence": job.confidence,
    }
    config = load_config(config_path, settings)
    model = program.build_model(config, torch.device("cpu"), DTYPES[dtype]).eval()
    rate = matmul_rate(torch, DTYPES[dtype])
    items = program.read_questions(meta, TASKS[job.task], folder)
    before = resident()
    if way == "ours":
        overrides = [f"{key}={json.dumps(value)}" for key, value in settings.items()]
        warm_up = folder / "warm_up.json"
        warm_up.write_text(json.dumps(json.loads(meta.read_text())[:2]))
        with patch.object(program, "build_model", lambda *_: model):
            program.infer(str(config_path), overrides, [str(warm_up)], ["warm_up"], [job.task], BATCH)
            start = time.perf_counter()
            (path,) = program.infer(str(config_path), overrides, [str(meta)], ["job"], [job.task], BATCH)
            seconds = time.perf_counter() - start
        answers = [row["output_id"] for row in json.loads(path.read_text())]
    else:
        from original import answer
        from transformers import PreTrainedModel

        cast(PreTrainedModel, model.llm.get_base_model()).set_attn_implementation("eager")
        arguments = (BATCH, job.tokens, job.confidence)
        answer(model, build_preprocessor(config), TASKS[job.task], items[:2], *arguments)
        items = items[: job.of_original]
        start = time.perf_counter()
        answers = answer(model, build_preprocessor(config), TASKS[job.task], items, *arguments)
        seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    floor = needed_operations(model, build_preprocessor(config), job, items, answers) / rate
    return {
        "rate": len(items) / seconds,
        "share": floor / seconds,
        "memory": (peak - before) / 2**30,
        "gflops": rate / 1e9,
        "answers": answers,
    }


def matmul_rate(torch, dtype) -> float:
    """Floating-point operations a second of a large matrix product, the best of several."""
    a, b = (torch.randn(1536, 1536, dtype=dtype) for _ in range(2))
    seconds = []
    for _ in range(8):
        start = time.perf_counter()
        a @ b
        seconds.append(time.perf_counter() - start)
    return 2 * 1536**3 / min(seconds)


def needed_operations(model, preprocess, job: Job, items: Sequence["Item"], answers: Sequence[list[int]]) -> float:
    """Distinct pictures through the encoder, distinct beginnings of prompts and the answers' tokens through the LLM."""
    llama, encoder = model.llm.get_base_model(), model.vision_encoder
    pictures = {path: preprocess.load(path) for item in items for path in item.image_paths}
    patches = sum(picture[0].numel() // encoder.patch_size**2 for picture in pictures.values())
    embeds = dict(zip(pictures, model.embed_images(list(pictures.values())), strict=True))
    queries = [job.query] + ([job.query + SINGLE_WORD_REQUEST] if job.confidence else [])
    read: set[tuple] = set()  # beginnings
    tokens = attention = 0
    for item, query in ((item, query) for item in items for query in queries):
        fused = model.fuse_question(TASKS[job.task], [embeds[path] for path in item.image_paths], query)
        parts = [tuple(part) if isinstance(part, list) else id(part) for part in fused.segments]
        place = 0
        for count, part in enumerate(fused.segments, 1):
            if tuple(parts[:count]) not in read:
                read.add(tuple(parts[:count]))
                tokens += len(part)
                attention += len(part) * (2 * place + len(part))
            place += len(part)
    generated = sum(map(len, answers)) * len(queries)
    layers = sum(weight.numel() for name, weight in llama.model.layers.named_parameters() if ".lora_" not in name)
    width = llama.config.hidden_size * llama.config.num_hidden_layers
    return (
        2 * sum(weight.numel() for weight in encoder.vit.encoder.parameters()) * patches
        + 2 * layers * (tokens + generated)
        + 2 * width * attention
        + 2 * llama.lm_head.weight.numel() * generated
    )


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@contextlib.contextmanager
def busy_core(is_busy: bool) -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if is_busy else None
    try:
        yield
    finally:
        if process is not None:
            process.kill()
            process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=("58m", "nano"), default="58m")
    parser.add_argument("--dtype", nargs="+", choices=("fp32", "bf16"), default=["fp32"])
    parser.add_argument("--jobs", nargs="+", choices=JOBS, default=list(JOBS), metavar="JOB", help=f"of {list(JOBS)}")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--busy", action="store_true", help="beside a process that keeps one core busy")
    parser.add_argument("--variant", nargs=5, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.variant:
        way, name, config, dtype, folder = args.variant
        print(json.dumps(measure(way, name, Path(config), dtype, Path(folder))))
        return
    quiet = {**os.environ, "HF_HUB_OFFLINE": "1"}
    print(f"{args.model}, {os.cpu_count()} cores{', one of them busy' if args.busy else ''}, medians of {args.rounds}")
    print(
        "| job | numbers | ours /s | original /s | ratio | share of the floor | GiB, ours / original | same answers |"
    )
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name, busy_core(args.busy):
        folder = Path(name)
        nano = ROOT / "experiments" / "Nano" / "config.yaml"
        config = nano if args.model == "nano" else write_random_model(folder)
        for job, dtype in itertools.product(args.jobs, args.dtype):
            (folder / job).mkdir(exist_ok=True)
            write_meta(JOBS[job], folder / job)
            found: dict[str, list[dict]] = {way: [] for way in WAYS}
            for _, way in itertools.product(range(args.rounds), WAYS):
                shutil.rmtree(folder / job / f"answers_{dtype}_{job}", ignore_errors=True)
                command = [sys.executable, __file__, "--variant", way, job, str(config), dtype, str(folder / job)]
                process = subprocess.run(command, capture_output=True, text=True, env=quiet)
                if process.returncode:
                    sys.exit(f"{way}, {job}: failed:\n{process.stderr[-3000:]}")
                found[way].append(json.loads(process.stdout.splitlines()[-1]))
            print(row(job, dtype, *found.values()), flush=True)


def row(job: str, dtype: str, ours: list[dict], original: list[dict]) -> str:
    """A line of the table."""
    rate, other = (statistics.median(one["rate"] for one in found) for found in (ours, original))
    share = statistics.median(one["share"] for one in ours)
    memory = " / ".join(f"{max(one['memory'] for one in found):.2f}" for found in (ours, original))
    pairs = list(zip(ours[0]["answers"], original[0]["answers"], strict=False))
    same = f"{sum(a == b for a, b in pairs)} of {len(pairs)}"
    return f"| {job} | {dtype} | {rate:.2f} | {other:.2f} | {rate / other:.2f} | {share:.0%} | {memory} | {same} |"


if __name__ == "__main__":
    main()
