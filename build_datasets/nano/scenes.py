"""What Nano is trained on: scenes, of which only statistics and the truth are kept.

    python build_datasets/nano/scenes.py --pictures DIR --out DIR --num 12000

`--pictures` is what photos.py made. A scene is a view of a photo in a random style, its reference, and two distorted
pictures of it. The backbone of the vision encoder is frozen, so of each picture it is enough to keep the statistics
that the backbone takes (3.6 kB) and the measurements that long answers quote: encoder and delta are trained on them
in minutes, and every task is asked of every scene. Scenes are written in files of SHARD; those that exist are kept.
"""

import argparse
from dataclasses import astuple, dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from build_datasets.dq495k.measure import Measures, measure
from build_datasets.nano.photos import load_photos
from build_datasets.nano.style import draw_style
from build_datasets.nano.views import Truth, crop_detail, distort, draw_other, draw_truth
from depictqa.errors import InputError, exit_cleanly
from depictqa.model.efficientnet import EfficientNetEncoder, imagenet_weights
from depictqa.model.weights import save_torch_file

SHARD = 100
SHARE_OTHERS = 0.12  # of scenes that show no photograph
SHARE_LARGE = 0.2  # of scenes whose pictures are larger than what the encoder takes in at one look
SMALL_SIDES, LARGE_SIDES = (160, 192, 224), (320, 384, 448, 576)  # pixels
DEV_EVERY = 9  # of the photos, one in so many is tested on and not trained on


@dataclass(frozen=True)
class Scenes:
    """n scenes; of three pictures each: reference, first, second."""

    looks: torch.Tensor  # [n, 3, 2, S], float16
    measures: torch.Tensor  # [n, 3, 7], the fields of `Measures`
    truths: list[tuple[Truth, Truth]]  # of the first and the second
    is_dev: torch.Tensor  # [n], of a photo that is not trained on

    def __len__(self) -> int:
        return len(self.truths)

    def measured(self, scene: int) -> list[Measures]:
        """Of reference, first, second."""
        return [Measures(*row) for row in self.measures[scene].tolist()]

    def of(self, chosen: torch.Tensor) -> "Scenes":
        """Some of them; `chosen` is a mask [n]."""
        truths = [truth for truth, kept in zip(self.truths, chosen.tolist(), strict=True) if kept]
        return Scenes(self.looks[chosen], self.measures[chosen], truths, self.is_dev[chosen])


def draw_scene(photo: np.ndarray, rng: np.random.Generator) -> tuple[list[np.ndarray], tuple[Truth, Truth]]:
    """(reference, first, second), uint8 [H, W, 3], and what was done to the latter two."""
    sides = LARGE_SIDES if rng.random() < SHARE_LARGE and min(photo.shape[:2]) >= LARGE_SIDES[-1] else SMALL_SIDES
    height, width = (int(side) for side in rng.choice(sides, 2))
    view = draw_style(crop_detail(photo, (height, width), rng), rng)
    first = draw_truth(rng)
    truths = first, draw_other(first, rng)
    return [view, *(distort(view, truth, rng) for truth in truths)], truths


@torch.inference_mode()
def make(
    numbers: range, pools: tuple[list[np.ndarray], list[np.ndarray]], encoder: EfficientNetEncoder, seed: int
) -> dict:
    """Scenes of these numbers, as `load` reads them."""
    photos, others = pools
    looks, measures, truths, is_dev = [], [], [], []
    for number in numbers:
        rng = np.random.default_rng([seed, number])
        pool = others if rng.random() < SHARE_OTHERS else photos
        index = int(rng.integers(len(pool)))
        pictures, pair = draw_scene(pool[index], rng)
        pixels = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)  # [3, 3, H, W]
        looks.append(encoder.looks(encoder.normalize(pixels)).half())
        measures.append([astuple(measure(picture)) for picture in pictures])
        truths.append([truth.distortions for truth in pair])
        is_dev.append(index % DEV_EVERY == 4)
    return {
        "looks": torch.stack(looks),
        "measures": torch.tensor(measures),
        "truths": truths,
        "is_dev": torch.tensor(is_dev),
    }


def load(*folders: Path) -> Scenes:
    """All scenes of the folders that are there by now. Raises InputError where there are none."""
    shards = [torch.load(path, weights_only=True) for folder in folders for path in sorted(folder.glob("*.pt"))]
    if not shards:
        raise InputError(f"{', '.join(map(str, folders))}: no scenes found; make them by build_datasets/nano/scenes.py")
    truths = [(Truth(first), Truth(second)) for shard in shards for first, second in shard["truths"]]
    looks, measures, is_dev = (torch.cat([shard[name] for shard in shards]) for name in ("looks", "measures", "is_dev"))
    return Scenes(looks, measures, truths, is_dev)


@exit_cleanly
def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--pictures", type=Path, required=True, help="folder with photos/ and others/")
    parser.add_argument("--out", type=Path, required=True, help="folder of the scenes")
    parser.add_argument("--num", type=int, default=12_000)
    parser.add_argument("--seed", type=int, default=131)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    pools = load_photos(args.pictures / "photos"), load_photos(args.pictures / "others")
    encoder = EfficientNetEncoder().eval()
    encoder.load_state_dict(imagenet_weights(), strict=False)
    for start in range(0, args.num, SHARD):
        path = args.out / f"{start:06d}.pt"
        if not path.exists():
            scenes = make(range(start, min(start + SHARD, args.num)), pools, encoder, args.seed)
            save_torch_file(path, scenes)
            print(f"{start + SHARD} scenes", flush=True)


if __name__ == "__main__":
    main()
