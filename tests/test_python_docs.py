"""docs/python.md: its examples run, one after the other, as they stand there (on a tiny model in place of Nano)."""

import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

from conftest import image_path, tiny_config

PAGE = (Path(__file__).parents[1] / "docs" / "python.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.slow
def test_every_example_runs(tmp_path, monkeypatch, capsys):
    config = tiny_config(tmp_path, infer={"max_new_tokens": 3})
    for name in ("photo.jpg", "a.jpg", "b.jpg"):
        Image.open(image_path("s10_84x84.png")).convert("RGB").save(tmp_path / name)
    shutil.copy(image_path("s11_84x84.png"), tmp_path / "original.png")
    monkeypatch.chdir(tmp_path)
    assert PAGE.count('("nano"') == 3
    names: dict = {}
    for example in EXAMPLES:
        exec(example.replace('("nano"', f'("{config}"'), names)
    assert capsys.readouterr().out.endswith("absent.jpg: no such image\n")
