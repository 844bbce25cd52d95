"""The Python of docs/huggingface.md runs, on a tiny model in place of Nano."""

import re
from pathlib import Path

import pytest
import torch
from PIL import Image

from conftest import tiny_config
from depictqa.config import load_config
from depictqa.hf.exporting import export_hf

PAGE = Path(__file__).parents[2] / "docs" / "huggingface.md"


@pytest.mark.slow
def test_the_page_runs(tmp_path, monkeypatch, capsys):
    export_hf(load_config(tiny_config(tmp_path)), tmp_path / "depictqa-hf", torch.float32)
    for name in ("photo.jpg", "a.jpg", "b.jpg", "original.png"):
        Image.linear_gradient("L").resize((90, 80)).convert("RGB").save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    namespace: dict = {}
    for block in blocks:
        if "push_to_hub" not in block:
            exec(block, namespace)
    messages = [{"role": "user", "content": namespace["content"]}]
    assert namespace["pipe"](text=messages, return_full_text=False)[0]["generated_text"]
    assert len(capsys.readouterr().out.splitlines()) >= 2
