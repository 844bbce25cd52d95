"""Where Nano's pictures come from: Qt's resource files, Debian's packages, and what is never trained on."""

import struct
import subprocess
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from build_datasets.nano import photos
from build_datasets.nano.catalogue import OTHERS, PHOTOGRAPHS
from build_datasets.nano.heldout import ELSEWHERE, PHOTOS
from build_datasets.nano.rcc import read_rcc
from depictqa.errors import InputError

FILES = {"gcompris/resource/a.txt": b"plain", "gcompris/resource/b.txt": b"packed " * 50}


def write_rcc(path, version, flags=1):
    """A resource file with FILES in a folder each deep, the second compressed. Entries: root, two folders, two files."""
    names, data, name_at, data_at = b"", b"", {}, {}
    for name in ("gcompris", "resource", "a.txt", "b.txt"):
        name_at[name] = len(names)
        names += struct.pack(">HI", len(name), 0) + name.encode("utf-16-be")
    for inside, contents in FILES.items():
        stored = struct.pack(">I", len(contents)) + zlib.compress(contents) if inside.endswith("b.txt") else contents
        data_at[inside.split("/")[-1]] = len(data)
        data += struct.pack(">I", len(stored)) + stored

    def folder(name, count, first):
        return struct.pack(">IHII", name_at.get(name, 0), 2, count, first)

    def file(name, flag):
        return struct.pack(">IHHHI", name_at[name], flag, 0, 0, data_at[name])

    entries = [folder(None, 1, 1), folder("gcompris", 1, 2), folder("resource", 2, 3)]
    entries += [file("a.txt", 0), file("b.txt", flags)]
    tree = b"".join(entry + (b"" if version == 1 else bytes(8)) for entry in entries)
    head = struct.pack(">4s4I", b"qres", version, 24, 24 + len(tree), 24 + len(tree) + len(data)) + bytes(4)
    path.write_bytes(head + tree + data + names)


@pytest.mark.parametrize("version", [1, 2, 3])
def test_resource_files_are_unpacked(tmp_path, version):
    write_rcc(tmp_path / "a.rcc", version)
    assert dict(read_rcc(tmp_path / "a.rcc")) == FILES


def test_what_cannot_be_unpacked_is_named(tmp_path):
    (tmp_path / "a.rcc").write_bytes(b"no such file")
    with pytest.raises(InputError, match="a.rcc: expected a Qt resource file"):
        dict(read_rcc(tmp_path / "a.rcc"))
    write_rcc(tmp_path / "b.rcc", 3, flags=4)
    with pytest.raises(InputError, match="b.txt is packed by zstandard"):
        dict(read_rcc(tmp_path / "b.rcc"))


@pytest.fixture
def package(monkeypatch):
    """`apt-get download` and `dpkg -x` of a package with two photos, one of them tiny, and a cut-out drawing."""

    def run(command, cwd=None, **_):
        if command[0] == "apt-get":
            (Path(cwd) / f"{command[-1]}.deb").touch()
            return
        folder = Path(command[-1]) / "usr/share/pictures"
        folder.mkdir(parents=True)
        Image.new("RGB", (2000, 1800), "red").save(folder / "large.jpg")
        Image.new("RGB", (90, 90), "red").save(folder / "tiny.jpg")
        Image.new("RGBA", (300, 300), (0, 0, 0, 0)).save(folder / "cut.png")

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(photos, "PHOTOGRAPHS", {"some": ["usr/share/pictures/*.jpg"]})
    monkeypatch.setattr(photos, "OTHERS", {"some": ["usr/share/pictures/cut.png"]})


def test_pictures_are_collected(package, tmp_path):
    assert photos.download(tmp_path) == 2
    (large,) = (tmp_path / "photos").iterdir()
    assert large.name == "some-pictures-large.png" and min(Image.open(large).size) == photos.SHORT_SIDE
    (cut,) = (tmp_path / "others").iterdir()
    assert (np.asarray(Image.open(cut)) == photos.SKY).all()


def test_a_package_that_lacks_a_picture_is_named(package, tmp_path, monkeypatch):
    monkeypatch.setattr(photos, "OTHERS", {"some": ["usr/share/pictures/gone.png"]})
    with pytest.raises(InputError, match="Debian's some has no usr/share/pictures/gone.png"):
        photos.download(tmp_path)


def test_nothing_held_out_is_trained_on():
    held_out = set(PHOTOS) | {package for files in ELSEWHERE.values() for package, _ in files}
    held_out |= {package for package, *_ in photos.TEST_PHOTOS.values()}
    assert held_out == {"skimage", "sklearn", "gradio", "matplotlib"}
    assert not held_out & (PHOTOGRAPHS.keys() | OTHERS.keys())
    assert all(package.islower() and "python" not in package for package in PHOTOGRAPHS | OTHERS)
