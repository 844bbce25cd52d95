"""Every command of docs/datasets.md, run as it stands there (on 12 small photos)."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from processes import GIVE_UP_SECONDS
from tests.build_datasets.dq495k.photos import SCRIPTS, write_crops
from tests.chat_server import ChatServer

PAGE = (Path(__file__).parents[3] / "docs" / "datasets.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.slow
def test_the_whole_page_runs(tmp_path):
    write_crops(tmp_path / "photos", 12)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (tmp_path / "bin/python").chmod(0o755)
    script = "\n".join(BLOCKS).replace("/data/mine", str(tmp_path)).replace("OPENAI_API_KEY=...", "OPENAI_API_KEY=key")
    with ChatServer(answer="A fine answer.", item_of=lambda body: "any") as server:
        environment = os.environ | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "OPENAI_BASE_URL": server.url}
        done = subprocess.run(
            ["sh", "-e", "-c", script],
            cwd=SCRIPTS.parent,
            env=environment,
            capture_output=True,
            text=True,
            timeout=GIVE_UP_SECONDS,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(BLOCKS) == 8
    written = {path.name: len(json.loads(path.read_text())) for path in (tmp_path / "metas").glob("*.json")}
    assert len(written) == 8 + 4 + 4 + 2 and all(written.values()), written
    for path in re.findall(r"- \[(metas/\S+\.json), \d+\]", PAGE):
        assert (tmp_path / path).exists()


def test_the_page_names_every_layout_and_only_scripts_that_are_there():
    from build_datasets.dq495k.rating import LAYOUTS

    assert set(re.findall(r"^\| `(\w+)` \| .*\|.*\|$", PAGE[PAGE.index("`--layout`") :], re.MULTILINE)) == set(LAYOUTS)
    for name in re.findall(r"\w+\.py", PAGE):
        assert (SCRIPTS / name).exists() or name in ("test_docs.py", "questions.py", "_md.py")
