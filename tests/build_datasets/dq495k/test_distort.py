"""Distorted pictures and metas: the published formats, the same bytes however they are made."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.stats import chisquare

from build_datasets.dq495k import distort, labels
from build_datasets.x_distortion import CLASSES
from processes import GIVE_UP_SECONDS
from tests.build_datasets.dq495k.photos import SCRIPTS, write_crops

GOLDENS = Path(__file__).parents[2] / "data" / "add_distortion"
CASES = {case["name"]: case for case in json.loads((GOLDENS / "expected.json").read_text())}


def run(monkeypatch, kind: str, *arguments: str) -> None:
    monkeypatch.setattr("sys.argv", ["add_distortion", *arguments])
    distort.command(kind)


def folders(out: Path, photos: Path) -> list[str]:
    return [
        "--reference_dir",
        str(photos),
        "--distortion_dir",
        str(out / "dist"),
        "--meta_dir",
        str(out / "meta"),
        "--workers",
        "1",
    ]


def hashes(*folders: Path) -> dict[str, str]:
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folders[0].parent)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def shape_of(value):
    """A json value's form: its keys, the paths of pictures; draws left out."""
    if isinstance(value, dict):
        return {key: shape_of(inner) for key, inner in value.items()}
    if isinstance(value, str) and value.endswith(".png"):
        return value
    return "draw"


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """The goldens' photos, in a folder to run in."""
    for name in ("split.json", "exclude.json", "exclude_absent.json"):
        (tmp_path / name).write_bytes((GOLDENS / name).read_bytes())
    (tmp_path / "refs").mkdir()
    for path in (GOLDENS / "refs").iterdir():
        (tmp_path / "refs" / path.name).write_bytes(path.read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


CHANGED = {  # golden case -> what ours does instead
    "refA_sd unknown name falls back to random": "a name that is neither class nor function is refused",
    "refA_md test, one file of the split does not exist": "is said before anything is made",
}


@pytest.mark.parametrize(
    "name", [name for name in CASES if name not in CHANGED and not CASES[name]["starts_from_output_of_previous_case"]]
)
def test_goldens(name, toy, monkeypatch, capsys):
    """The same files of the same form; the draws are our own."""
    case = CASES[name]
    kind = case["script"].removeprefix("add_distortion_").removesuffix(".py")
    run(monkeypatch, kind, *case["args"], "--workers", "1")
    written = {path.name: path.read_text() for path in (toy / "out/meta").iterdir()}
    assert set(written) == set(case["metas"])
    for file, text in case["metas"].items():
        ours, theirs = json.loads(written[file]), json.loads(text)
        assert shape_of(ours) == shape_of(theirs) and list(ours) == list(theirs)
        assert written[file] == json.dumps(ours, indent=4)
    pictures = {path.name: np.asarray(Image.open(path)).shape for path in (toy / "out/dist").iterdir()}
    assert pictures == {file: tuple(image["shape"]) for file, image in case["images"].items()}
    counts = [line for line in case["stdout"].splitlines() if line.startswith(("All:", "Exclude:", "After"))]
    assert capsys.readouterr().out.splitlines()[: len(counts)] == counts


def test_photos_that_have_theirs_are_skipped_and_noskip_adds(toy, monkeypatch, capsys):
    arguments = CASES["refA_sd function name, all severities"]["args"]
    run(monkeypatch, "refA_sd", *arguments, "--workers", "1")
    before = hashes(toy / "out")
    run(monkeypatch, "refA_sd", *CASES["refA_sd same outputs again (skip)"]["args"], "--workers", "1")
    assert hashes(toy / "out") == before
    assert capsys.readouterr().out.splitlines()[-1] == "made 0 items of 0 photos; 3 photos had theirs already"
    case = CASES["refA_sd same outputs again (--noskip)"]
    run(monkeypatch, "refA_sd", *case["args"], "--workers", "1")
    assert {path.name for path in (toy / "out/meta").iterdir()} == set(case["metas"])
    assert {path.name for path in (toy / "out/dist").iterdir()} == set(case["images"])
    assert before.items() <= hashes(toy / "out").items()


def test_all_severities_are_of_one_function(toy, monkeypatch):
    run(monkeypatch, "refA_sd", *folders(toy / "out", toy / "refs"), "-a")
    for stem in ("ref_a", "ref_b", "ref_c"):
        metas = [json.loads((toy / f"out/meta/{stem}_{number}.json").read_text()) for number in range(5)]
        assert [meta["severity"] for meta in metas] == [1, 2, 3, 4, 5]
        assert len({meta["distortion_name"] for meta in metas}) == 1


def test_undistorted_pictures_are_the_photos_themselves(toy, monkeypatch):
    run(monkeypatch, "refA_sd", *folders(toy / "out", toy / "refs"), "-p", "0")
    for path in (toy / "out/dist").iterdir():
        photo = Image.open(toy / "refs" / f"{path.stem.removesuffix('_0')}.png").convert("RGB")
        assert np.array_equal(np.asarray(Image.open(path)), np.asarray(photo))


def test_large_photos_are_shrunk_small_ones_are_not_enlarged(tmp_path, monkeypatch):
    (tmp_path / "photos").mkdir()
    for name, size in {"wide": (672, 448), "upright": (300, 600), "small": (100, 80)}.items():
        Image.new("RGB", size, (9, 99, 200)).save(tmp_path / f"photos/{name}.jpg")
    run(monkeypatch, "refA_sd", *folders(tmp_path, tmp_path / "photos"))
    sizes = {path.stem: Image.open(path).size for path in (tmp_path / "dist").iterdir()}
    assert sizes == {"wide_0": (336, 224), "upright_0": (224, 448), "small_0": (100, 80)}


def test_pictures_a_and_b_differ():
    for kind in ("refAB_sd", "refAB_md"):
        spec, rng = distort.KINDS[kind], np.random.default_rng(0)
        for _ in range(2000):
            a, b = distort.draw_states(spec, spec.draw, 0.6, rng)
            assert [(one.label, one.severity) for one in a] != [(one.label, one.severity) for one in b]
            assert kind == "refAB_sd" or 2 in (len(a), len(b))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-d", "foo"], "--distortion_name: expected a class or a function"),
        (["-p", "1.5"], "--prob_distortion: expected 0 to 1"),
        (["--workers", "0"], "--workers: expected at least 1, found 0"),
        (["--cluster", "tcp://here:1"], "--cluster: expected --backend dask"),
        (["--reference_dir", "nowhere"], "nowhere: cannot be read"),
    ],
)
def test_mistakes_are_one_line(arguments, message, toy, monkeypatch, capsys):
    with pytest.raises(SystemExit) as stop:
        run(monkeypatch, "refA_sd", *folders(toy / "out", toy / "refs"), *arguments)
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_absent_photos_of_the_split_are_said_before_anything_is_made(toy, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        run(monkeypatch, "refA_md", *CASES["refA_md test, one file of the split does not exist"]["args"])
    assert "refs: 1 photos of the split do not exist: absent.png" in capsys.readouterr().err
    assert not (toy / "out").exists()


def test_photos_that_would_share_a_name_are_refused(tmp_path, monkeypatch, capsys):
    (tmp_path / "photos").mkdir()
    for name in ("a.png", "a.jpg"):
        Image.new("RGB", (64, 64)).save(tmp_path / "photos" / name)
    with pytest.raises(SystemExit):
        run(monkeypatch, "refA_sd", *folders(tmp_path, tmp_path / "photos"))
    assert "a.jpg and a.png would share the names of their pictures" in capsys.readouterr().err


BROKEN = {"empty.png": b"", "text.jpg": b"no picture", "cut.png": None}


def test_broken_photos_become_rows_of_a_report(tmp_path, monkeypatch, capsys):
    names = write_crops(tmp_path / "photos", 20)
    for name, data in BROKEN.items():
        (tmp_path / "photos" / name).write_bytes(
            (tmp_path / "photos" / names[0]).read_bytes()[:900] if data is None else data
        )
    Image.new("RGB", (20, 300)).save(tmp_path / "photos/small.png")
    Image.new("CMYK", (80, 60), (0, 99, 99, 0)).save(tmp_path / "photos/cmyk.jpg")
    with pytest.raises(SystemExit):
        run(monkeypatch, "refA_sd", *folders(tmp_path, tmp_path / "photos"))
    assert "1 broken photos, more than --max_broken allows" in capsys.readouterr().err
    run(monkeypatch, "refA_sd", *folders(tmp_path, tmp_path / "photos"), "--max_broken", "0.2")
    rows = [json.loads(line) for line in (tmp_path / "meta/broken.jsonl").read_text().splitlines()]
    assert [Path(row["img_ref"]).name for row in rows] == ["cut.png", "empty.png", "small.png", "text.jpg"]
    assert all(Path(row["img_ref"]).name in row["error"] or "at least 32 pixels" in row["error"] for row in rows)
    assert {path.stem for path in (tmp_path / "meta").glob("*.json")} == {f"{Path(name).stem}_0" for name in names} | {
        "cmyk_0"
    }
    (tmp_path / "photos/small.png").unlink()
    for name in BROKEN:  # mended
        Image.new("RGB", (64, 64)).save(tmp_path / "photos" / name)
    run(monkeypatch, "refA_sd", *folders(tmp_path, tmp_path / "photos"))
    assert not (tmp_path / "meta/broken.jsonl").exists() and (tmp_path / "meta/cut_0.json").exists()


def test_a_killed_noskip_run_goes_on_with_its_own_numbers(toy, monkeypatch, capsys):
    arguments = folders(toy / "out", toy / "refs")
    run(monkeypatch, "refA_sd", *arguments)
    make = distort.make_item
    monkeypatch.setattr(
        distort, "make_item", lambda build, name, *rest: make(build, name, *rest) if "ref_a" in name else 1 / 0
    )
    with pytest.raises(ZeroDivisionError):
        run(monkeypatch, "refA_sd", *arguments, "-ns")
    monkeypatch.setattr(distort, "make_item", make)
    with pytest.raises(SystemExit):
        run(monkeypatch, "refA_sd", *arguments, "-ns", "--seed", "5")
    assert "a run with --noskip is unfinished" in capsys.readouterr().err
    run(monkeypatch, "refA_sd", *arguments, "-ns")
    assert {path.name for path in (toy / "out/meta").iterdir()} == {f"ref_{x}_{n}.json" for x in "abc" for n in (0, 1)}


# many processes, kill -9, other machines

PATHS = f"{SCRIPTS.parents[1]}:{SCRIPTS.parents[1] / 'tests'}"  # `build_datasets` is looked for before the tests of that name
FIFTY_KILLS = """
import os, random, sys
from build_datasets.dq495k import distort
from processes import kill_before
rng = random.Random(7)
for number in [rng.randint(1, 48) for _ in range(50)]:  # of operations on files, of which an item takes six
    if not (child := os.fork()):
        sys.stdout = sys.stderr = open(os.devnull, "w")
        kill_before(number, ".")
        distort.command("refAB_md")
        os._exit(0)
    print(os.waitpid(child, 0)[1])
"""
ALL_KILLED = """
import os, signal
from build_datasets.dq495k import distort, parallel

def run(calls, real=parallel.run):
    for number, result in enumerate(real(calls)):
        if number == 20:
            os.killpg(0, signal.SIGKILL)
        yield result

parallel.run = run
distort.command("refAB_md")
"""  # all processes, once twenty items are made


def start(program: list, *arguments: str, **options) -> subprocess.Popen:
    """`program` is what follows `python`."""
    environment, output = os.environ | {"PYTHONPATH": PATHS}, {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen([sys.executable, *program, *arguments], text=True, env=environment, **output, **options)


def program(kind: str, *arguments: str, **options) -> str:
    """Run add_distortion_KIND.py to its end; what it printed."""
    process = start([SCRIPTS / f"add_distortion_{kind}.py"], *arguments, **options)
    return process.communicate(timeout=GIVE_UP_SECONDS)[0]


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """150 photos, and what one undisturbed process makes of them."""
    folder = tmp_path_factory.mktemp("straight")
    names = write_crops(folder / "photos", 150)
    (folder / "split.json").write_text(json.dumps({"train": names, "test": []}))
    split = ["--split_json", str(folder / "split.json"), "--training"]
    out = program("refAB_md", *folders(Path("."), folder / "photos"), *split, cwd=folder)
    assert out.splitlines()[-1] == "made 150 items of 150 photos; 0 photos had theirs already", out
    return folder, split, hashes(folder / "dist", folder / "meta")


def again(straight, tmp_path) -> list[str]:
    folder, split, _ = straight
    return [*folders(Path("."), folder / "photos")[:-2], *split]


@pytest.mark.slow
def test_fifty_kills_change_no_byte(straight, tmp_path):
    """Each kill comes before some operation on a file: to open, rename or remove one, to make a folder."""
    arguments = [*again(straight, tmp_path), "--workers", "1"]
    killer = start(["-c", FIFTY_KILLS], *arguments, cwd=tmp_path)
    statuses = killer.communicate(timeout=GIVE_UP_SECONDS)[0].split()
    assert statuses == [str(int(signal.SIGKILL))] * 50
    made = len(list((tmp_path / "meta").glob("*.json")))
    assert 0 < made < 150
    out = program("refAB_md", *arguments, cwd=tmp_path)
    assert (
        out.splitlines()[-1] == f"made {150 - made} items of {150 - made} photos; {made} photos had theirs already"
    ), out
    assert hashes(tmp_path / "dist", tmp_path / "meta") == straight[2]  # no partial file either


@pytest.mark.slow
def test_eight_processes_make_the_same_bytes_also_when_all_are_killed_in_between(straight, tmp_path):
    arguments = [*again(straight, tmp_path), "--workers", "8"]
    for _ in range(2):
        killed = start(["-c", ALL_KILLED], *arguments, cwd=tmp_path, start_new_session=True)
        assert killed.wait(GIVE_UP_SECONDS) == -signal.SIGKILL
    made = len(list((tmp_path / "meta").glob("*.json")))
    assert made >= 40
    out = program("refAB_md", *arguments, cwd=tmp_path)
    assert f"; {made} photos had theirs already" in out
    assert hashes(tmp_path / "dist", tmp_path / "meta") == straight[2]


@pytest.mark.slow
def test_a_dask_cluster_of_two_processes_makes_the_same_bytes(straight, tmp_path):
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        arguments = [*again(straight, tmp_path), "--backend", "dask", "--cluster", cluster.scheduler_address]
        absolute = [
            str(tmp_path / "dist") if one == "dist" else str(tmp_path / "meta") if one == "meta" else one
            for one in arguments
        ]
        out = program("refAB_md", *absolute, cwd=tmp_path)
        assert len(cluster.scheduler.workers) == 2
    assert "made 150 items" in out, out
    folder = straight[0]
    for path in (folder / "dist").iterdir():
        assert (tmp_path / "dist" / path.name).read_bytes() == path.read_bytes()
    for path in (folder / "meta").iterdir():
        assert (tmp_path / "meta" / path.name).read_text().replace(f"{tmp_path}/", "") == path.read_text()


@pytest.mark.slow
def test_two_thousand_photos_follow_the_rules(tmp_path):
    write_crops(tmp_path / "photos", 2000, side=48)
    out = program("refA_sd", *folders(Path("."), tmp_path / "photos")[:-2], "--workers", "2", cwd=tmp_path)
    assert out.splitlines()[-1] == "made 2000 items of 2000 photos; 0 photos had theirs already", out
    metas = [json.loads(path.read_text()) for path in (tmp_path / "meta").glob("*.json")]
    classes, severities = (
        Counter(meta["distortion_class"] for meta in metas),
        Counter(meta["severity"] for meta in metas),
    )
    expected = {None: 0.05} | {label: 0.95 / 12 for label in CLASSES}
    assert (
        chisquare([classes[label] for label in expected], [2000 * share for share in expected.values()]).pvalue > 1e-3
    )
    shares = [0.05] + [0.95 / 5] * 5
    assert chisquare([severities[severity] for severity in range(6)], [2000 * share for share in shares]).pvalue > 1e-3
    for label, functions in CLASSES.items():
        names = Counter(meta["distortion_name"] for meta in metas if meta["distortion_class"] == label)
        assert len(functions) == 1 or chisquare([names[name] for name in functions]).pvalue > 1e-3
    assert len(list((tmp_path / "dist").glob("*.png"))) == 2000
    some = random.Random(0).sample(metas, 50)  # pictures are what their metas say
    for meta in some:
        stem = Path(meta["img_ref"]).stem
        state = labels.from_fields(meta, stem)
        rng = labels.generator(131, "distort", stem, "", 0)
        photo = np.asarray(Image.open(meta["img_ref"]))
        assert np.array_equal(labels.apply(state, photo, rng), np.asarray(Image.open(tmp_path / meta["img_lq"])))
