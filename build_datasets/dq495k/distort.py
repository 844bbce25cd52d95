"""Photos -> distorted pictures and one meta each, by any number of processes.

Each item draws from its own seed (the run's seed and the item's id), so that the number of processes, their order,
a `kill -9` and a second run change no byte. An item's meta is written after its pictures: where the meta is, the item
is done. Photos that cannot be read become rows of META_DIR/broken.jsonl.
"""

import argparse
import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from joblib import delayed
from tqdm import tqdm

from build_datasets.dq495k import labels, parallel
from build_datasets.dq495k.files import (
    SHOWN,
    list_photos,
    read_names,
    read_split,
    shrink,
    write_bytes,
    write_meta,
    write_png,
)
from build_datasets.dq495k.labels import Distortion, Draw, State, generator
from depictqa.answers import read_json
from depictqa.data.images import open_image
from depictqa.errors import InputError, exit_cleanly

SHORT_SIDE = 224  # larger pictures are shrunk to it, pixels
UNFINISHED = ".unfinished.json"  # in the folder of metas, while a run with --noskip is under way


@dataclass(frozen=True)
class Kind:
    """What a script makes: one picture or two (A, B), how metas spell their states, how these are drawn."""

    letters: tuple[str, ...]
    multi: bool
    draw: Draw
    seed: int


KINDS = {
    "refA_sd": Kind(("",), False, labels.draw_one, 131),
    "refA_md": Kind(("",), True, labels.draw_two, 131),
    "refAB_sd": Kind(("A", "B"), False, labels.draw_one, 134),
    "refAB_md": Kind(("A", "B"), True, labels.draw_one_or_two, 131),
}


@dataclass(frozen=True)
class Build:
    """One run. `distortion_name`: a class or function, None to draw; `prob`: share of distorted pictures."""

    kind: str
    reference_dir: str
    distortion_dir: str
    meta_dir: str
    seed: int
    prob: float = 0.95
    distortion_name: str | None = None
    all_severity: bool = False


def draw_states(kind: Kind, draw: Draw, prob: float, rng: np.random.Generator) -> list[State]:
    """A state for each picture. A and B differ in class or severity; with `multi` at least one of them has two."""
    while True:
        states = [draw(rng) if rng.random() < prob else () for _ in kind.letters]
        looks = [[(one.label, one.severity) for one in state] for state in states]
        if len(states) == 1 or (looks[0] != looks[1] and (not kind.multi or max(map(len, states)) == 2)):
            return states


def states_of(build: Build, stem: str, number: int, first: int) -> list[State]:
    """What item `number` of a photo shows; `first` is the run's first number of this photo."""
    kind = KINDS[build.kind]
    draw = labels.draw_named(build.distortion_name, kind.draw) if build.distortion_name else kind.draw
    if not build.all_severity:
        return draw_states(kind, draw, build.prob, generator(build.seed, "draw", stem, number))
    (one,) = draw(generator(build.seed, "draw", stem, first))
    return [(Distortion(one.label, one.name, 1 + number - first),)]


def fields_of(build: Build, name: str, number: int, first: int) -> dict:
    """The meta of an item, in the published form."""
    kind, stem = KINDS[build.kind], Path(name).stem
    states = states_of(build, stem, number, first)
    paths = [os.path.join(build.distortion_dir, f"{stem}_{letter}{number}.png") for letter in kind.letters]
    fields = {"id": f"{stem}_{number}"} if build.kind == "refAB_md" else {}
    fields["img_ref"] = os.path.join(build.reference_dir, name)
    for letter, path, state in zip(kind.letters, paths, states):
        spelled = labels.to_fields(state, kind.multi)
        fields |= {f"img_lq_{letter}": {"img_path": path} | spelled} if letter else {"img_lq": path} | spelled
    return fields


def make_item(build: Build, name: str, number: int, first: int) -> dict | None:
    """Write the pictures and the meta of an item; a row for the report where the photo cannot be used."""
    kind, stem = KINDS[build.kind], Path(name).stem
    path = os.path.join(build.reference_dir, name)
    try:
        img = np.asarray(shrink(open_image(path), SHORT_SIDE))
        for letter, state in zip(kind.letters, states_of(build, stem, number, first)):
            rng = generator(build.seed, "distort", stem, letter, number)
            write_png(labels.apply(state, img, rng), Path(build.distortion_dir, f"{stem}_{letter}{number}.png"))
    except (InputError, ValueError) as error:  # ValueError: too small a picture to distort
        return {"img_ref": path, "error": str(error)}
    write_meta(Path(build.meta_dir, f"{stem}_{number}.json"), fields_of(build, name, number, first))
    return None


def plan(build: Build, names: list[str], noskip: bool) -> list[tuple[str, int, int]]:
    """(name, number, first number) of every item that is still to be made."""
    highest = highest_numbers(Path(build.meta_dir))
    starts = {name: 0 for name in names}
    if noskip:
        starts = claim(build, {name: highest.get(Path(name).stem, -1) + 1 for name in names})
    items = []
    for name, first in starts.items():
        numbers = range(first, first + (5 if build.all_severity else 1))
        done = [number for number in numbers if Path(build.meta_dir, f"{Path(name).stem}_{number}.json").exists()]
        if build.all_severity and not all(is_of(build, name, number, first) for number in done):
            continue  # made by a run with other arguments: as good as generated
        items += [(name, number, first) for number in numbers if number not in done]
    return items


def highest_numbers(meta_dir: Path) -> dict[str, int]:
    highest: dict[str, int] = {}
    for entry in meta_dir.iterdir() if meta_dir.exists() else ():
        if match := re.fullmatch(r"(.+)_(\d+)\.json", entry.name):
            highest[match[1]] = max(highest.get(match[1], -1), int(match[2]))
    return highest


def is_of(build: Build, name: str, number: int, first: int) -> bool:
    """Whether the meta that is there is the one this run would write."""
    return read_json(Path(build.meta_dir, f"{Path(name).stem}_{number}.json")) == fields_of(build, name, number, first)


def claim(build: Build, starts: dict[str, int]) -> dict[str, int]:
    """The first numbers of a run with --noskip, noted so that a killed one goes on with the same.

    Raises:
        InputError: a killed run with other arguments is still unfinished.
    """
    path = Path(build.meta_dir, UNFINISHED)
    if path.exists():
        begun = read_json(path)
        if begun["build"] != asdict(build):
            raise InputError(
                f"{path}: a run with --noskip is unfinished: run it again with {begun['build']}, or remove the file"
            )
        return begun["starts"]
    write_bytes(path, json.dumps({"build": asdict(build), "starts": starts}).encode())
    return starts


def chosen_names(args: argparse.Namespace) -> list[str]:
    """The photos to distort: all of the folder, or those of the split without the excluded ones.

    Raises:
        InputError: photos are absent, or two of them would share their pictures' names.
    """
    folder = Path(args.reference_dir)
    if not getattr(args, "split_json", None):
        names = list_photos(folder)
    else:
        every = list(dict.fromkeys(read_split(args.split_json, args.training)))
        excluded = set(read_names(args.exclude_json)) if args.exclude_json else set()
        names = [name for name in every if name not in excluded]
        print(f"All: {len(every)}\nExclude: {len(every) - len(names)}\nAfter Exclude: {len(names)}")
    if absent := [name for name in names if not (folder / name).exists()]:
        raise InputError(f"{folder}: {len(absent)} photos of the split do not exist: {', '.join(absent[:SHOWN])}")
    stems: dict[str, str] = {}
    for name in names:
        if (other := stems.setdefault(Path(name).stem, name)) != name:
            raise InputError(f"{folder}: {other} and {name} would share the names of their pictures; rename one")
    return names


def run(build: Build, items: list[tuple[str, int, int]], most_broken: float) -> list[dict]:
    """Make items in parallel (see `parallel`); the rows of those that are broken, sorted.

    Raises:
        InputError: more than `most_broken` items are; what is made stays.
    """
    broken: list[dict] = []
    report = Path(build.meta_dir, "broken.jsonl")
    try:
        done = parallel.run(delayed(make_item)(build, *item) for item in items)
        for row in tqdm(done, total=len(items), desc=build.kind, unit="item", mininterval=1):
            broken += [row] if row else []
            if len(broken) > most_broken:
                raise InputError(
                    f"{build.reference_dir}: {len(broken)} broken photos, more than --max_broken allows "
                    f"(see {report}): {broken[-1]['error']}"
                )
    finally:
        broken.sort(key=lambda row: row["img_ref"])
        if broken:
            write_bytes(report, b"".join(json.dumps(row).encode() + b"\n" for row in broken))
        else:
            report.unlink(missing_ok=True)
    return broken


@exit_cleanly
def command(kind: str) -> None:
    """The program add_distortion_KIND.py."""
    parser = argparse.ArgumentParser(description="Photos -> distorted pictures and metas (docs/datasets.md).")
    parser.add_argument("--reference_dir", required=True, help="folder of photos")
    parser.add_argument("--distortion_dir", required=True, help="where pictures go (.png)")
    parser.add_argument("--meta_dir", required=True, help="where metas go (.json)")
    if kind.startswith("refA_"):
        parser.add_argument(
            "-d", "--distortion_name", help="a class or a function (of two: one of them); drawn unless given"
        )
    if kind == "refA_sd":
        parser.add_argument("-a", "--all_severity", action="store_true", help="one function at severities 1 to 5")
    else:
        parser.add_argument("--split_json", type=Path, required=True, help='{"train": [names], "test": [names]}')
        parser.add_argument("--exclude_json", type=Path, help="json list of names to leave out")
        parser.add_argument("--training", action="store_true", help="the split's train part, not test")
    parser.add_argument("-p", "--prob_distortion", type=float, default=0.95, help="share of distorted pictures")
    parser.add_argument("-ns", "--noskip", action="store_true", help="one more item for photos that have one")
    parser.add_argument("--seed", type=int, default=KINDS[kind].seed)
    parser.add_argument("--max_broken", type=float, default=0.01, help="share of broken photos at which to stop")
    parallel.add_arguments(parser)
    args = parser.parse_args()
    if not 0 <= args.prob_distortion <= 1 or (args.prob_distortion == 0 and len(KINDS[kind].letters) == 2):
        raise InputError("--prob_distortion: expected 0 to 1; above 0 where A and B have to differ")
    name = getattr(args, "distortion_name", None)
    if name:
        labels.draw_named(name, KINDS[kind].draw)
    folders = (args.reference_dir, args.distortion_dir, args.meta_dir)
    build = Build(kind, *folders, args.seed, args.prob_distortion, name, getattr(args, "all_severity", False))
    names = chosen_names(args)
    items = plan(build, names, args.noskip)
    with parallel.backend(args):
        broken = run(build, items, args.max_broken * len(names) * (5 if build.all_severity else 1))
    Path(args.meta_dir, UNFINISHED).unlink(missing_ok=True)
    photos = len({item[0] for item in items})
    print(f"made {len(items) - len(broken)} items of {photos} photos; {len(names) - photos} photos had theirs already")
    if broken:
        print(
            f"note: {len(broken)} broken photos: see {Path(args.meta_dir, 'broken.jsonl')}; first: {broken[0]['error']}"
        )
