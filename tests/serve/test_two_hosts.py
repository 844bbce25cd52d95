"""Page and controller on one machine, the worker on another, no disk between them: pictures travel as bytes."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import yaml

from conftest import image_path, tiny_config
from namespaces import IN_NAMESPACE, needs_iproute
from processes import GIVE_UP_SECONDS

CONTROLLER, WORKER = "10.77.0.1", "10.77.0.2"
ASKING = """
import asyncio, json, sys
from depictqa.serve.page.client import Client
from depictqa.serve.protocol import Ask, Refused

async def main(url, *files):
    client, last = Client(url), None
    pictures = {name: open(path, "rb").read() for name, path in zip(("ref", "a", "b"), files)}
    async for last in client.ask(Ask(question="Which is better?", max_tokens=8, stream=True), pictures):
        pass
    print(last.model_dump_json())

try:
    asyncio.run(main(*sys.argv[1:]))
except Refused as error:
    sys.exit(error.message)
"""  # as the page asks
HIDDEN = 'mount -t tmpfs none "$0" && test -z "$(ls "$0")" && exec "$@"'  # a folder is another, empty one in there


def on(node: str, *command, **options) -> subprocess.Popen:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([*IN_NAMESPACE, node, *map(str, command)], env=environment, text=True, **options)


@pytest.mark.slow
@needs_iproute
def test_a_question_across_two_hosts_without_a_shared_disk(tmp_path, nodes):
    photos = tmp_path / "photos"
    photos.mkdir()
    files = [photos / name for name in ("ref.png", "a.png", "b.png")]
    for file, name in zip(files, ("s01_70x70.png", "s10_84x84.png", "s06_33x47.png"), strict=True):
        file.write_bytes(image_path(name).read_bytes())
    (tmp_path / "secret").write_text("between-us\n")
    config = {
        "log_dir": str(tmp_path / "log"),
        "secret_file": str(tmp_path / "secret"),
        "controller": {"host": CONTROLLER, "port": 10000, "worker_hosts": [WORKER]},
        "worker": {"host": "0.0.0.0", "port": 22222, "worker_url": f"http://{WORKER}:22222", "model_name": "Tiny"}
        | {"controller": f"http://{CONTROLLER}:10000", "heartbeat_seconds": 0.5},
    }
    (tmp_path / "serve.yaml").write_text(yaml.safe_dump(config))
    processes = [
        on(nodes[0], sys.executable, "-m", "depictqa.serve.controller", "--cfg", tmp_path / "serve.yaml"),
        on(
            *(nodes[1], "sh", "-c", HIDDEN, photos, sys.executable, "-m", "depictqa.serve.worker"),
            *("--cfg", tiny_config(tmp_path / "tiny"), "--serve_cfg", tmp_path / "serve.yaml"),
        ),
    ]
    try:
        give_up = time.monotonic() + GIVE_UP_SECONDS
        while True:
            asking = on(
                *(nodes[0], sys.executable, "-c", ASKING, f"http://{CONTROLLER}:10000", *files),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            answer, refusal = asking.communicate(timeout=GIVE_UP_SECONDS)
            if asking.returncode == 0:
                break
            assert time.monotonic() < give_up and [p.poll() for p in processes] == [None, None], refusal
        assert json.loads(answer)["done"] and json.loads(answer)["text"]
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
        for process in processes:
            process.wait(GIVE_UP_SECONDS)
