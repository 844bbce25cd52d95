"""Training speed and memory beside a plain baseline: `python benchmarks/train.py --model 30m`.

Both train projector, abstractor and LoRA on the same comparisons with a reference, of pictures that are drawn here:

    ours     the loop of train.py: DeepSpeed, micro batches, SDPA, logits at answers only, pictures prepared by workers
    plain    micro batch 1, eager attention, logits at every position, pictures prepared in the training process

Each measurement is a process of its own; the two take turns. On a busy machine compare the CPU seconds: they do not
count what other processes take. The floor is what the matrix products that cannot be
left out would take at the rate that a large product reaches in the same process; `share` is floor / measured time.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
import numpy as np
import torch
from PIL import Image
from torch import nn

from depictqa.config import load_config
from depictqa.data.images import open_image
from depictqa.data.preprocess import ImagePreprocessor
from depictqa.data.training import Conversation, MicroBatches, TrainingItem, TrainingSet, load_batches
from depictqa.model.build import DTYPES, build_model, build_preprocessor
from depictqa.model.clip import CLIPEncoder, describe_openai_vit
from depictqa.model.depictqa import DepictQA
from depictqa.model.fusion import collate
from depictqa.model.llm import add_lora
from depictqa.model.tokenizer import load_tokenizer
from depictqa.prompts import TASKS

VARIANTS = ("ours", "plain")
TOKENIZER = ROOT / "tests" / "data" / "artifacts" / "llm_tiny"  # its ids are below every vocabulary here
PICTURE = (300, 400)  # height, width: 224 x 299 after scaling, a crop of it in training
QUESTION = "Which of the two images, Image A or Image B, is closer to the reference, and what distortions do they show?"
ANSWER = (
    "Image A is closer: it has a slight blur, while Image B shows strong noise and pale colours in the whole picture."
)


@dataclass(frozen=True)
class Shape:
    """Sizes of a model with random weights."""

    vit_width: int
    vit_layers: int
    hidden: int
    layers: int
    heads: int
    mlp: int
    vocabulary: int = 32_000


SHAPES = {
    "30m": Shape(vit_width=256, vit_layers=6, hidden=320, layers=8, heads=5, mlp=1024),
    "7b": Shape(vit_width=1024, vit_layers=24, hidden=4096, layers=32, heads=32, mlp=11008),
}
MICRO_BATCHES = {"30m": 1, "7b": 4, "nano": 16}  # of `ours`


def make_model(
    name: str, device: torch.device, dtype: torch.dtype, attention: str
) -> tuple[DepictQA, ImagePreprocessor]:
    """A model in training mode. Nano has its real weights."""
    if name == "nano":
        config = load_config(ROOT / "experiments" / "Nano" / "config.yaml", {"model.delta_path": None})
        model, preprocess = build_model(config, device, dtype, delta=False), build_preprocessor(config)
        model.llm.get_base_model().set_attn_implementation(attention)
        return model.train(), preprocess
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = SHAPES[name]
    torch.set_default_dtype(dtype)
    with torch.device(device):
        vision_encoder = CLIPEncoder(describe_openai_vit(shape.vit_width, shape.vit_layers, 14, 224, 768), "local")
        nn.init.normal_(vision_encoder.proj)
        config = LlamaConfig(
            vocab_size=shape.vocabulary,
            hidden_size=shape.hidden,
            intermediate_size=shape.mlp,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            attn_implementation=attention,
        )
        llm = LlamaForCausalLM(config).requires_grad_(False)
        lora = add_lora(llm, 16, 16, 0.1, ["q_proj", "k_proj", "v_proj", "o_proj"])
        tokenizer = load_tokenizer(TOKENIZER)
        model = DepictQA(vision_encoder.eval().requires_grad_(False), None, lora, tokenizer, "vicuna_v1", True)
    torch.set_default_dtype(torch.float32)
    return model.to(device, dtype).train(), ImagePreprocessor(14, 224, 672, (0.7, 1.0))


def make_items(folder: Path, count: int) -> list[TrainingItem]:
    """Comparisons with a reference; the pictures are smooth noise, as PNG decodes photographs, not flat colour."""
    rng = np.random.default_rng(0)
    items = []
    for number in range(count):
        paths = []
        for name in ("ref", "A", "B"):
            coarse = Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8))
            paths.append(str(folder / f"{number}_{name}.png"))
            coarse.resize(PICTURE[::-1], Image.Resampling.BICUBIC).save(paths[-1])
        items.append(TrainingItem(str(number), TASKS["quality_compare"], tuple(paths), ((QUESTION, ANSWER),)))
    return items


class Stopwatch:
    """Stands in for the log of a run: when each update was over, by the clock and by this process's CPU time."""

    def __init__(self, device: torch.device):
        self.device, self.times, self.cpu_times = device, [], []

    def write(self, metrics: dict, samples: int) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        self.times.append(time.perf_counter())
        self.cpu_times.append(time.process_time())


def train_ours(model, preprocess, items, args, folder: Path, watch: Stopwatch) -> None:
    """`updates` + 1 updates by the loop of train.py."""
    from depictqa.training.broken import BrokenSamples
    from depictqa.training.distributed import start
    from depictqa.training.engine import build_engine
    from depictqa.training.loop import Saving, run
    from depictqa.training.settings import make_plan
    from depictqa.training.stop import StopSignal

    device = start(watch.device)
    if device.type == "cpu":  # as train.py does
        model.least_share = 1
    accumulation = args.update // args.micro_batch
    settings = {
        "deepspeed.train_micro_batch_size_per_gpu": args.micro_batch,
        "deepspeed.gradient_accumulation_steps": accumulation,
        "deepspeed.fp16.enabled": False,
        "deepspeed.bf16.enabled": args.dtype == "bf16",
    }
    config = load_config(ROOT / "experiments" / "_base_" / "config.yaml", settings)
    plan = make_plan(len(items), 1, args.micro_batch, accumulation, epochs=1, warmup_rate=0.1)
    engine = build_engine(model, config, plan, device)
    micro_batches = MicroBatches([1] * len(items), args.micro_batch, accumulation, 0, 1, 0, 0, plan.micro_steps)
    data = TrainingSet(items, preprocess, seed=0)
    batches = load_batches(data, micro_batches, args.workers, device.type == "cuda", ahead=accumulation)
    saving = Saving(folder, None, None, keep_last=1, settings={})
    broken = BrokenSamples("training", len(items), 0.0, folder, write=None)
    with StopSignal() as stop:
        run(engine, batches, plan, saving, None, watch, broken, stop, seed=0)


def train_plain(model, preprocess, items, args, folder: Path, watch: Stopwatch) -> None:
    """The same updates, sample by sample."""
    import random

    llama = model.llm.get_base_model()
    trained = [p for p in model.parameters() if p.requires_grad]
    masters = [p.detach().float().clone().requires_grad_() for p in trained]  # fp32 beside bf16, as DeepSpeed has them
    optimizer = torch.optim.AdamW(masters, lr=2e-4, betas=(0.9, 0.95), weight_decay=1e-3)
    rng = random.Random(0)
    for number, item in enumerate(items, 1):
        embeds = []
        for path in item.image_paths:
            pixels = model.vision_encoder.normalize(preprocess(open_image(path), rng).to(watch.device))
            features, _ = model.vision_encoder([pixels])  # [1, N, C]
            if model.abstractor is not None:
                features = model.abstractor(features)
            embeds.append(model.vision_proj(features)[0])
        fused = model.fuse_conversation(Conversation(item.task, (), item.turns), embeds)
        batch = collate([fused], model.embed_tokens, padding_side="right")
        hidden = llama.model(inputs_embeds=batch.inputs_embeds, attention_mask=batch.attention_mask).last_hidden_state
        logits = llama.lm_head(hidden).float()  # [1, T, V]
        labels = batch.labels.to(watch.device)
        loss = nn.functional.cross_entropy(logits[0, :-1], labels[0, 1:], ignore_index=-100)
        (loss / args.update).backward()
        if number % args.update == 0:
            for master, parameter in zip(masters, trained, strict=True):
                master.grad, parameter.grad = parameter.grad.float(), None
            nn.utils.clip_grad_norm_(masters, 1.0)
            optimizer.step()
            with torch.no_grad():
                for master, parameter in zip(masters, trained, strict=True):
                    parameter.copy_(master)
            watch.write({"loss": loss.item()}, args.update)


TRAIN = {"ours": train_ours, "plain": train_plain}


def matmul_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations a second of a large matrix product, the best of several."""
    size = 8192 if device.type == "cuda" else 1536
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    best = float("inf")
    for _ in range(8):
        start = time.perf_counter()
        a @ b
        if device.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


def needed_operations(model: DepictQA, items: list[TrainingItem], preprocess) -> tuple[float, int]:
    """Of one sample: the operations that cannot be left out, and the length of its sequence.

    ViT forward; LLM forward and the gradient of its inputs (frozen weights need none); logits where an answer is.
    """
    images = [preprocess(open_image(path)) for path in items[0].image_paths]
    with torch.no_grad():
        embeds = model.embed_images(images)
        fused = model.fuse_conversation(Conversation(items[0].task, images, items[0].turns), embeds)
    length, targets = len(fused), sum(label != -100 for label in fused.labels)
    llama = model.llm.get_base_model()
    layers = sum(p.numel() for name, p in llama.model.layers.named_parameters() if "lora_" not in name)
    config, vit = llama.config, model.vision_encoder.vit
    attention = 2 * length**2 * config.hidden_size * config.num_hidden_layers  # causal: half of 2 products of 2 T^2 D
    patches = sum(image[0].numel() // model.vision_encoder.patch_size**2 for image in images)
    operations = 2 * sum(p.numel() for p in vit.encoder.parameters()) * patches
    operations += 4 * layers * length + 3 * attention
    return operations + 4 * llama.lm_head.weight.numel() * targets, length


def measure(args) -> dict:
    """One process's measurement: the first update warms up, the others are timed."""
    device, dtype = torch.device(args.device), DTYPES[args.dtype]
    torch.manual_seed(0)
    rate = matmul_rate(device, dtype)
    model, preprocess = make_model(args.model, device, dtype, "sdpa" if args.variant == "ours" else "eager")
    watch = Stopwatch(device)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        items = make_items(folder, args.update * (args.updates + 1))
        operations, length = needed_operations(model, items, preprocess)
        before = resident_gib()
        TRAIN[args.variant](model, preprocess, items, args, folder, watch)
    samples = args.updates * args.update
    seconds, cpu_seconds = ((times[-1] - times[0]) / samples for times in (watch.times, watch.cpu_times))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20 - before
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated() / 2**30
    return {
        "samples_per_s": 1 / seconds,
        "tokens_per_s": length / seconds,
        "cpu_s": cpu_seconds,
        "memory_gib": peak,
        "share": operations / rate / seconds,
        "tflops": rate / 1e12,
        "length": length,
    }


def resident_gib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**30


def measured(arguments: list[str], rounds: int) -> Iterator[tuple[str, dict]]:
    """Measurements in processes of their own, the variants in turn."""
    for _ in range(rounds):
        for variant in VARIANTS:
            command = [sys.executable, __file__, *arguments, "--variant", variant]
            process = subprocess.run(command, capture_output=True, text=True)
            if process.returncode:
                sys.exit(f"{variant} failed:\n{process.stderr[-3000:]}")
            yield variant, json.loads(process.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=[*SHAPES, "nano"], default="30m")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--dtype", choices=DTYPES, help="default: fp32 on cpu, bf16 on cuda")
    parser.add_argument("--micro_batch", type=int, help=f"of ours; default: {MICRO_BATCHES}")
    parser.add_argument("--workers", type=int, help="loader processes of ours; default: 0 on cpu, 4 on cuda")
    parser.add_argument("--update", type=int, default=16, help="samples of an update, of both (default: 16)")
    parser.add_argument("--updates", type=int, default=1, help="timed updates; one more warms up")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--variant", choices=VARIANTS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.dtype = args.dtype or ("bf16" if args.device == "cuda" else "fp32")
    args.workers = args.workers if args.workers is not None else {"cpu": 0, "cuda": 4}[args.device]
    args.micro_batch = args.micro_batch or MICRO_BATCHES[args.model]
    if args.variant:
        print(json.dumps(measure(args)))
        return
    results: dict[str, list[dict]] = {variant: [] for variant in VARIANTS}
    for variant, result in measured(sys.argv[1:], args.rounds):
        results[variant].append(result)
        print(f"{variant:6} {result['samples_per_s']:8.3f} samples/s", file=sys.stderr)
    medians = {
        variant: {key: statistics.median(row[key] for row in rows) for key in rows[0]}
        for variant, rows in results.items()
    }
    ours, plain = medians["ours"], medians["plain"]
    threads = f", {torch.get_num_threads()} threads" if args.device == "cpu" else f" ({torch.cuda.get_device_name()})"
    print(f"{args.model}, {args.dtype}, {args.device}{threads}; {ours['length']:.0f} tokens a sample")
    print(f"{'':6} {'samples/s':>10} {'tokens/s':>10} {'CPU s/sample':>13} {'memory GiB':>11} {'share':>7}")
    for variant, row in medians.items():
        numbers = f"{row['samples_per_s']:10.3f} {row['tokens_per_s']:10.0f} {row['cpu_s']:13.2f}"
        print(f"{variant:6} {numbers} {row['memory_gib']:11.2f} {row['share']:7.1%}")
    speed, memory = ours["samples_per_s"] / plain["samples_per_s"], ours["memory_gib"] / plain["memory_gib"]
    print(f"ours: {speed:.2f} x the samples/s at {memory:.2f} x the memory (medians of {args.rounds})")
    print(f"matrix products reach {ours['tflops']:.3g} TFLOP/s")


if __name__ == "__main__":
    main()
