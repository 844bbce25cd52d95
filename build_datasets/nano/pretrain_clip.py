"""Pre-train Nano's vision encoder: CLIP's contrastive loss on distorted views and captions of their distortion.

    python build_datasets/nano/pretrain_clip.py --photos DIR --out experiments/Nano/ckpt/clip_nano.pt --minutes 30

Every view is new: crop, distortion and severity are drawn in loader workers. Writes a checkpoint beside the output every
few minutes and goes on from it after an interruption.
"""

import argparse
import math
import os
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from build_datasets.nano.clip import CLIP, contrastive_loss
from build_datasets.nano.photos import load_photos, test_photos
from build_datasets.nano.samples import CLEAN, LABELS, Distortion, draw_distortion, draw_size, draw_view
from build_datasets.x_distortion import CLASSES
from depictqa.errors import exit_cleanly

CONTEXT = 16
CHECK_SECONDS = 120
MEAN = torch.tensor((0.48145466, 0.4578275, 0.40821073)).view(3, 1, 1)
STD = torch.tensor((0.26862954, 0.26130258, 0.27577711)).view(3, 1, 1)


def caption(distortion: Distortion) -> str:
    if distortion.name is None:
        return "a photo without any distortion"
    kind = distortion.name.removeprefix("brightness_").replace("_", " ")
    return f"a photo with {distortion.severity_name} {distortion.answer} by {kind}"


DISTORTIONS = [CLEAN] + [
    Distortion(label, name, severity) for label, names in CLASSES.items() for name in names for severity in range(1, 6)
]
INDEX = {distortion: index for index, distortion in enumerate(DISTORTIONS)}
WORDS = sorted({word for distortion in DISTORTIONS for word in caption(distortion).split()})


def caption_ids() -> torch.Tensor:
    """Word ids of every caption [len(DISTORTIONS), CONTEXT]; the highest id ends a text, zeros follow."""
    ids = torch.zeros(len(DISTORTIONS), CONTEXT, dtype=torch.long)
    for row, distortion in zip(ids, DISTORTIONS, strict=True):
        words = [WORDS.index(word) + 1 for word in caption(distortion).split()] + [len(WORDS) + 1]
        row[: len(words)] = torch.tensor(words)
    return ids


class Views(IterableDataset):
    """Endless batches (uint8 [B, 3, H, W], caption index [B]), each of one size, from a worker's own seed."""

    def __init__(self, photos: list[np.ndarray], batch_size: int, seed: int):
        self.photos, self.batch_size, self.seed = photos, batch_size, seed

    def __iter__(self):
        cv2.setNumThreads(1)
        worker = get_worker_info()
        rng = np.random.default_rng([self.seed, worker.id if worker else 0])
        while True:
            size = draw_size(rng)
            views, captions = [], []
            for _ in range(self.batch_size):
                distortion = draw_distortion(rng)
                view = draw_view(self.photos[rng.integers(len(self.photos))], size, rng)
                views.append(distortion.apply(view, rng))
                captions.append(INDEX[distortion])
            yield torch.from_numpy(np.stack(views)).permute(0, 3, 1, 2), torch.tensor(captions)


def normalized(pixels: torch.Tensor, device: torch.device) -> torch.Tensor:
    return (pixels.to(device).float() / 255 - MEAN.to(device)) / STD.to(device)


@torch.no_grad()
def test_accuracy(model: CLIP, device: torch.device, repeats: int = 2) -> float:
    """Zero-shot: share of distorted test photos whose class (12, or none) gets the most probability; no reference."""
    rng, texts = np.random.default_rng(0), model.encode_text(caption_ids().to(device))
    columns = torch.tensor([LABELS.index(distortion.label) for distortion in DISTORTIONS], device=device)
    right = total = 0
    for _, photo in test_photos():
        height, width = (side // 14 * 14 for side in photo.shape[:2])
        drawn = [draw_distortion(rng, needs_reference=False, label=label) for label in LABELS for _ in range(repeats)]
        views = np.stack([distortion.apply(photo[:height, :width], rng) for distortion in drawn])
        images, _ = model.encode_image(normalized(torch.from_numpy(views).permute(0, 3, 1, 2), device))
        probabilities = (model.logit_scale.exp() * images @ texts.T).softmax(-1)  # [B, captions]
        by_class = torch.zeros(len(views), len(LABELS), device=device).index_add_(1, columns, probabilities)
        right += sum(LABELS[i] == d.label for i, d in zip(by_class.argmax(-1).tolist(), drawn, strict=True))
        total += len(drawn)
    return right / total


def save(value: dict, path: Path) -> None:
    temporary = path.with_suffix(".tmp")
    torch.save(value, temporary)
    os.replace(temporary, path)


def train(
    photos: list[np.ndarray], out: Path, minutes: float, batch_size: int, workers: int, lr: float, seed: int
) -> None:
    torch.manual_seed(seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = CLIP(vocabulary=len(WORDS) + 2, context=CONTEXT).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.9, 0.98), weight_decay=0.05)
    spent, steps = 0.0, 0
    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = out.with_suffix(".train")
    if unfinished.exists():
        state = torch.load(unfinished, map_location=device, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        spent, steps = state["spent"], state["steps"]
        print(f"going on after {spent / 60:.1f} minutes, {steps} steps", flush=True)
    loader = iter(
        DataLoader(Views(photos, batch_size, seed + steps), batch_size=None, num_workers=workers, prefetch_factor=2)
    )
    all_ids = caption_ids().to(device)
    budget, last, checked = minutes * 60, time.monotonic(), spent
    while spent < budget:
        pixels, captions = next(loader)
        used, pairs = captions.to(device).unique(return_inverse=True)
        progress = spent / budget
        for group in optimizer.param_groups:  # by time: warm up over 3%, then a half cosine
            group["lr"] = lr * min(1, steps / 100, progress / 0.03 + 0.01) * 0.5 * (1 + math.cos(math.pi * progress))
        with torch.autocast(device.type, torch.bfloat16):
            texts = model.encode_text(all_ids[used])
            scale = model.logit_scale.exp().clamp(max=100)
            losses = [
                contrastive_loss(e.float(), texts.float(), pairs, scale)
                for e in model.encode_image(normalized(pixels, device))
            ]
            loss = torch.stack(losses).sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        steps += 1
        now = time.monotonic()
        spent, last = spent + now - last, now
        if steps % 50 == 0:
            print(
                f"{spent / 60:5.1f} min  step {steps}  views {steps * batch_size}  loss {loss.item():.3f}", flush=True
            )
        if spent - checked > CHECK_SECONDS or spent >= budget:
            checked = spent
            print(
                f"{spent / 60:5.1f} min  zero-shot accuracy on test photos {test_accuracy(model, device):.3f}",
                flush=True,
            )
            save(
                {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "spent": spent, "steps": steps},
                unfinished,
            )
            last = time.monotonic()
    save({key: value.half().cpu() for key, value in model.state_dict().items()}, out)
    unfinished.unlink()
    print(f"wrote {out}: {sum(p.numel() for p in model.visual.parameters()):,} parameters see pictures", flush=True)


@exit_cleanly
def main() -> None:
    parser = argparse.ArgumentParser(description="Pre-train Nano's vision encoder by CLIP's contrastive loss.")
    parser.add_argument("--photos", type=Path, required=True, help="folder of photos")
    parser.add_argument("--out", type=Path, required=True, help="state dict to write")
    parser.add_argument("--minutes", type=float, default=30, help="how long to train")
    parser.add_argument("--batch_size", type=int, default=256)
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes that make views")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=131)
    args = parser.parse_args()
    train(load_photos(args.photos), args.out, args.minutes, args.batch_size, args.workers, args.lr, args.seed)


if __name__ == "__main__":
    main()
