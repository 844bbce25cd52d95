"""Train Nano's delta on scenes: projection and LoRA, over a frozen encoder and a frozen language model.

    python build_datasets/nano/train_delta.py --cfg experiments/Nano/config.yaml --scenes DIR --out DIR --questions 40000

What `depictqa train` would do with pictures, sized for two CPU cores. The encoder's tokens are computed once. A batch asks
one task, so that its system text is read once for all; long answers have batches of their own. The model computes in bfloat16, which keeps too little of small
updates, so the optimizer has weights of its own in float32. A run goes on from `OUT/state.pt`.
"""

import argparse
import os
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import distributed
from torch.nn import functional as F
from transformers import DynamicCache

from build_datasets.nano import scenes
from build_datasets.nano.asking import KINDS, SEVERITY_WORDS, Asked, Kind, ask
from build_datasets.nano.scenes import Scenes
from build_datasets.nano.views import CLASS_NAMES
from depictqa.config import load_config
from depictqa.data.training import Conversation
from depictqa.errors import exit_cleanly
from depictqa.model.build import build_model
from depictqa.model.delta import belongs_to_delta
from depictqa.model.depictqa import DepictQA
from depictqa.model.efficientnet import SEEN
from depictqa.model.fusion import Fused, collate
from depictqa.model.weights import load_torch_file, save_torch_file
from depictqa.prompts import DISTORTIONS, NO_DISTORTION

LR, WARM_UP = 1e-3, 0.05  # peak; share of the questions
PROJECTION_PACE = 3  # times LR, since the projection starts from nothing
LOG_STEPS, SAVE_STEPS = 10, 30
RANK, WORLD = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def word_of(label: str | None) -> str:
    return NO_DISTORTION if label is None else DISTORTIONS[label]


def draw_group(rng: np.random.Generator) -> list[Kind]:
    """The kinds of a batch: all of one task, and all with long answers or all with short ones, so that little is padding."""
    groups = defaultdict(list)
    for kind in KINDS:
        groups[kind.task.name, kind.is_long].append(kind)
    shares = np.array([sum(kind.share for kind in kinds) for kinds in groups.values()])
    return list(groups.values())[rng.choice(len(groups), p=shares / shares.sum())]


def draw_batch(found: Scenes, size: int, kinds: list[Kind], rng: np.random.Generator) -> list[tuple[int, Asked]]:
    """(scene, question) of these kinds; of long answers a quarter as many, which takes as much memory."""
    shares = np.array([kind.share for kind in kinds])
    batch: list[tuple[int, Asked]] = []
    while len(batch) < (max(1, size // 4) if kinds[0].is_long else size):
        scene, kind = int(rng.integers(len(found))), kinds[rng.choice(len(kinds), p=shares / shares.sum())]
        asked = ask(kind, found.truths[scene], found.measured(scene), rng)
        if asked is not None:
            batch.append((scene, asked))
    return batch


def losses(model: DepictQA, tokens: torch.Tensor, batch: list[tuple[int, Asked]]) -> torch.Tensor:
    """Of each question, the mean over the targets of its answer: [B].

    Args:
        tokens: the encoder's, of all scenes, [n, 3, N, C].
    """
    embeds = [model.vision_proj(tokens[scene, list(asked.pictures)]) for scene, asked in batch]  # [pictures, N, D] each
    fused = [
        model.fuse_conversation(Conversation(asked.task, (), [(asked.question, asked.answer)]), list(rows))
        for (_, asked), rows in zip(batch, embeds, strict=True)
    ]
    llama: Any = model.llm.get_base_model()
    cache, beginning = _read_beginning(model, fused)
    rest = collate([_without(one, beginning) for one in fused], model.embed_tokens, padding_side="right")
    size, length = rest.labels.shape
    cache.batch_repeat_interleave(size)
    hidden = llama.model(
        inputs_embeds=rest.inputs_embeds,
        attention_mask=torch.cat([torch.ones(size, beginning, dtype=torch.long), rest.attention_mask], dim=1),
        position_ids=beginning + torch.arange(length).expand(size, -1),
        past_key_values=cache,
        use_cache=True,
    ).last_hidden_state  # [B, T, D]
    labels = F.pad(rest.labels[:, 1:], (0, 1), value=-100)  # position t predicts token t + 1
    rows, places = (labels >= 0).nonzero(as_tuple=True)
    logits = llama.lm_head(hidden[rows, places]).float()  # [targets, V]
    of_targets = F.cross_entropy(logits, labels[rows, places], reduction="none")
    return torch.zeros(size).index_add(0, rows, of_targets) / rows.bincount(minlength=size)


def _read_beginning(model: DepictQA, fused: list[Fused]) -> tuple[DynamicCache, int]:
    """Keys and values of the text in front of the first picture, which is the same in all, and its length."""
    ids = _beginning(fused[0])
    cache = DynamicCache()
    embeds = model.embed_tokens(torch.tensor([ids]))  # [1, T, D]
    llama: Any = model.llm.get_base_model()
    llama.model(inputs_embeds=embeds, past_key_values=cache, use_cache=True)
    return cache, len(ids)


def _beginning(one: Fused) -> list[int]:
    first = next(index for index, segment in enumerate(one.segments) if isinstance(segment, torch.Tensor))
    return [int(token) for segment in one.segments[:first] for token in segment]


def _without(one: Fused, length: int) -> Fused:
    """What follows the beginning."""
    first = next(index for index, segment in enumerate(one.segments) if isinstance(segment, torch.Tensor))
    return Fused(one.segments[first:], one.labels[length:], one.visible[length:])


class Run:
    """Model, float32 weights of what is trained, optimizer, and how many questions were asked."""

    def __init__(self, model: DepictQA, folder: Path):
        self.model, self.folder, self.asked, self.steps = model, folder, 0, 0
        self.live = {name: value for name, value in model.named_parameters() if belongs_to_delta(name)}
        self.weights = {name: value.detach().float().clone() for name, value in self.live.items()}
        projection = [value for name, value in self.weights.items() if name.startswith("vision_proj")]
        lora = [value for name, value in self.weights.items() if not name.startswith("vision_proj")]
        groups = [{"params": lora, "pace": 1}, {"params": projection, "pace": PROJECTION_PACE}]
        self.optimizer = torch.optim.AdamW(groups, lr=LR, betas=(0.9, 0.98), weight_decay=0.01)

    def begin(self, delta: Path | None) -> None:
        """Take over the LoRA of another delta; the projection turns judgements into the words for them."""
        for name, value in load_torch_file(delta).items() if delta else ():
            if name in self.weights and ".lora_" in name:
                self.weights[name].copy_(value)
        words = [*map(word_of, CLASS_NAMES), *map(word_of, CLASS_NAMES[1:]), *SEVERITY_WORDS]
        with torch.no_grad():
            for channel, word in enumerate(words, start=SEEN):
                ids = torch.tensor(self.model.tokenizer.encode(f" {word}"))
                self.weights["vision_proj.weight"][:, channel] = self.model.embed_tokens(ids).float().mean(0)
        self._to_model()

    def resume(self) -> bool:
        """Go on from the folder's checkpoint; False where there is none."""
        path = self.folder / "state.pt"
        if not path.exists():
            return False
        state = torch.load(path, weights_only=True)
        for name, value in state["weights"].items():
            self.weights[name].copy_(value)
        self.optimizer.load_state_dict(state["optimizer"])
        self.asked, self.steps = state["asked"], state["steps"]
        self._to_model()
        return True

    def step(self, tokens: torch.Tensor, batch: list[tuple[int, Asked]], pace: float) -> torch.Tensor:
        """One optimizer step at a share of LR. Returns the losses [B]."""
        found = losses(self.model, tokens, batch)
        found.mean().backward()
        gradients = [torch.zeros_like(value) if value.grad is None else value.grad for value in self.live.values()]
        gradients = average([gradient.float() for gradient in gradients])
        for weight, value, gradient in zip(self.weights.values(), self.live.values(), gradients, strict=True):
            weight.grad, value.grad = gradient, None
        for group in self.optimizer.param_groups:
            group["lr"] = LR * pace * group["pace"]
        torch.nn.utils.clip_grad_norm_(self.weights.values(), 1.0)
        self.optimizer.step()
        self._to_model()
        self.asked, self.steps = self.asked + len(batch) * WORLD, self.steps + 1
        return found.detach()

    def save(self) -> None:
        """`state.pt` to go on from, `delta.pt` (float16) to use; each whole or not at all."""
        state = {"weights": self.weights, "optimizer": self.optimizer.state_dict()}
        files = {
            "state.pt": state | {"asked": self.asked, "steps": self.steps},
            "delta.pt": {name: value.half() for name, value in self.weights.items()},
        }
        for name, value in files.items():
            save_torch_file(self.folder / name, value)

    @torch.no_grad()
    def _to_model(self) -> None:
        for name, value in self.live.items():
            value.copy_(self.weights[name])


def average(gradients: list[torch.Tensor]) -> list[torch.Tensor]:
    """Over all processes."""
    if WORLD == 1:
        return gradients
    flat = torch.cat([gradient.flatten() for gradient in gradients]) / WORLD
    distributed.all_reduce(flat)
    parts = flat.split([gradient.numel() for gradient in gradients])
    return [part.view_as(gradient) for part, gradient in zip(parts, gradients, strict=True)]


def pace_at(asked: int, questions: int) -> float:
    """Share of LR: up over the first questions, then down to nothing."""
    return min(1, (asked + 1) / (WARM_UP * questions), max(0, (questions - asked) / ((1 - WARM_UP) * questions)))


def train(args: argparse.Namespace) -> None:
    torch.manual_seed(args.seed)
    if WORLD > 1:
        distributed.init_process_group("gloo")
    args.out.mkdir(parents=True, exist_ok=True)
    overrides = {"model.delta_path": None, "model.lora.lora_dropout": 0.0}
    if args.encoder:
        overrides["model.vision_encoder_path"] = str(args.encoder.resolve())
    config = load_config(args.cfg, overrides)
    model = build_model(config, torch.device("cpu"), torch.bfloat16, delta=False)
    llama: Any = model.llm.get_base_model()
    llama.set_attn_implementation("eager")  # flash attention's backward is slow on CPUs
    encoder: Any = model.vision_encoder.float()
    found = scenes.load(*args.scenes)
    with torch.no_grad():
        tokens = torch.stack([encoder.tokens(looks) for looks in found.looks.unbind(1)], dim=1).to(torch.bfloat16)
    print(f"{len(found)} scenes", flush=True)
    run = Run(model, args.out)
    if not run.resume():
        run.begin(args.lora)
    sums, counts, started = defaultdict(float), Counter(), time.monotonic()
    while run.asked < args.questions:
        kinds = draw_group(np.random.default_rng([args.seed, run.steps]))  # the same in all processes
        batch = draw_batch(found, args.batch, kinds, np.random.default_rng([args.seed, run.steps, RANK]))
        for (_, asked), loss in zip(batch, run.step(tokens, batch, pace_at(run.asked, args.questions)), strict=True):
            kind = f"{len(asked.pictures)} pictures, {'long' if len(asked.answer) > 40 else 'short'}"
            sums[kind] += loss.item()
            counts[kind] += 1
        is_done = run.asked >= args.questions
        if RANK == 0 and (run.steps % LOG_STEPS == 0 or is_done):
            speed = WORLD * sum(counts.values()) / (time.monotonic() - started)
            shown = {kind: round(sums[kind] / counts[kind], 3) for kind in sorted(sums)}
            print(f"{time.strftime('%T')} {run.asked} questions, {speed:.1f}/s: {shown}", flush=True)
            sums, counts, started = defaultdict(float), Counter(), time.monotonic()
        if RANK == 0 and (run.steps % SAVE_STEPS == 0 or is_done):
            run.save()


@exit_cleanly
def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--cfg", type=Path, required=True)
    parser.add_argument("--encoder", type=Path, help="folder that train_encoder.py wrote, in place of the config's")
    parser.add_argument("--scenes", type=Path, nargs="+", required=True, help="folders that scenes.py has filled")
    parser.add_argument("--out", type=Path, required=True, help="folder of checkpoints")
    parser.add_argument("--lora", type=Path, help="delta whose LoRA to start from")
    parser.add_argument("--questions", type=int, default=40_000, help="how many are asked in all")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seed", type=int, default=131)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
