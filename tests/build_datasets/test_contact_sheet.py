"""The contact sheet and its page."""

import os
import subprocess
import sys
from pathlib import Path

from PIL import Image

from build_datasets.x_distortion import FUNCTIONS
from build_datasets.x_distortion.contact_sheet import CAPTION, GAP, SIDE

ROOT = Path(__file__).parents[2]


def test_the_script_draws_what_the_page_shows(tmp_path):
    command = [sys.executable, "scripts/draw_contact_sheet.py", "--save_path", tmp_path / "sheet.jpg"]
    subprocess.run(command, cwd=ROOT / "build_datasets", env=os.environ | {"PYTHONPATH": "./"}, check=True)
    rows = (len(FUNCTIONS) + 2) // 2  # the photo's row is one more
    with Image.open(tmp_path / "sheet.jpg") as drawn, Image.open(ROOT / "docs" / "distortions.jpg") as shown:
        assert drawn.size == shown.size == (10 * SIDE + GAP, rows * (SIDE + CAPTION))


def test_the_page_names_every_function():
    page = (ROOT / "docs" / "distortions.md").read_text(encoding="utf-8")
    assert [name for name in FUNCTIONS if f"| `{name}` |" not in page] == []
