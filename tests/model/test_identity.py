"""A shard that is overwritten in place is noticed, and a copy is the same weights."""

import os
import shutil

import pytest

from depictqa.model.identity import digest, stamp


@pytest.fixture
def folder(tmp_path):
    """Two shards, one of them in a folder below, of a time long ago."""
    llm = tmp_path / "llm"
    (llm / "below").mkdir(parents=True)
    for name in ("model-1.safetensors", "below/model-2.safetensors"):
        (llm / name).write_bytes(b"weights")
        os.utime(llm / name, (10**9, 10**9))
    return llm


def overwrite(folder):
    before = folder.stat().st_mtime_ns
    (folder / "below" / "model-2.safetensors").write_bytes(b"WEIGHTS")
    assert folder.stat().st_mtime_ns == before, "what the fingerprint was, once"


CHANGES = {
    "overwritten": overwrite,
    "cut": lambda folder: os.truncate(folder / "model-1.safetensors", 3),
    "added": lambda folder: (folder / "tokenizer.json").write_bytes(b"{}"),
    "removed": lambda folder: (folder / "model-1.safetensors").unlink(),
    "renamed": lambda folder: (folder / "model-1.safetensors").rename(folder / "model-3.safetensors"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("identify", [stamp, digest])
def test_a_change_below_a_folder_is_noticed(folder, identify, change):
    before = identify(folder)
    assert identify(folder) == before
    change(folder)
    assert identify(folder) != before


@pytest.mark.parametrize("identify", [stamp, digest])
def test_a_file_is_followed_and_notes_of_a_downloader_are_not(folder, identify):
    linked = folder.with_name("linked")
    linked.symlink_to(folder / "model-1.safetensors")
    file, whole = identify(linked), identify(folder)
    (folder / ".cache").mkdir()
    (folder / ".cache" / "model-1.metadata").write_text("seen today")
    assert identify(folder) == whole
    (folder / "model-1.safetensors").write_bytes(b"WEIGHTS")
    assert identify(linked) != file


def test_a_copy_has_the_digest_of_its_origin_and_another_stamp(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy", copy_function=shutil.copyfile)  # with the time of now
    assert digest(tmp_path / "copy") == digest(folder)
    assert stamp(tmp_path / "copy") != stamp(folder)
    assert digest(shutil.copyfile(folder / "model-1.safetensors", tmp_path / "other")) == digest(
        folder / "model-1.safetensors"
    )
