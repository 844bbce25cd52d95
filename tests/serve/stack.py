"""The parts of the demo as real processes on free ports of this machine, on a tiny model."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import yaml

from conftest import image_path, tiny_config
from processes import GIVE_UP_SECONDS, free_port, until

ROOT = Path(__file__).parents[2]
PICTURE = image_path("s10_84x84.png").read_bytes()
OTHER = image_path("s06_33x47.png").read_bytes()
QUESTION = "Describe the quality."
SLOW_WORKER = """
import os, time
from depictqa.serve import worker
from depictqa.inference.session import Session

def slow_step(session, real=Session.step):
    time.sleep(float(os.environ.get("STEP_SECONDS", 0.1)))
    return real(session)

Session.step = slow_step
worker.main()
"""  # the real worker, with time for a test to look at an answer in work
HELD_WORKER = SLOW_WORKER.replace("real(session)", "real(session) if next(steps) < 5 else time.sleep(10**6)").replace(
    "real=Session.step", "real=Session.step, steps=iter(range(10**6))"
)  # one that stays in the middle of its first answer
ENDLESS_WORKER = SLOW_WORKER.replace(
    "worker.main()",
    "from depictqa.inference.sampling import StopCriteria\n"
    "StopCriteria.finish_reason = lambda _, ids, sampling: 'length' if len(ids) >= sampling.max_new_tokens else None\n"
    "worker.main()",
)  # one whose answers end where the request says, or never
NEVER = 10**6  # tokens


def get(url: str, headers: dict | None = None) -> dict:
    """JSON of a GET, or {} where nobody listens yet."""
    try:
        return httpx.get(url, headers=headers, timeout=GIVE_UP_SECONDS, trust_env=False).json()
    except (httpx.HTTPError, ValueError):
        return {}


class Stack:
    """Starts parts in `folder`, and ends them all in `close`. `settings` are merged over every serve.yaml."""

    def __init__(self, folder: Path):
        self.folder, self.processes, self.settings = folder, [], {}
        folder.mkdir(parents=True, exist_ok=True)
        self.url = f"http://127.0.0.1:{free_port()}"
        self.page_url = f"http://127.0.0.1:{free_port()}"

    def config(self, **worker) -> tuple[Path, str]:
        """A serve.yaml with a worker's port of its own: (path, the worker's url)."""
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        values = {
            "log_dir": str(self.folder / "log"),
            "controller": {"port": int(self.url.rsplit(":", 1)[1]), "expiry_seconds": 4},
            "gradio": {"port": int(self.page_url.rsplit(":", 1)[1]), "controller_url": self.url},
            "worker": {
                "port": port,
                "worker_url": url,
                "controller": self.url,
                "model_name": "Tiny",
                "stream_interval": 1,
            }
            | {"heartbeat_seconds": 0.5}
            | worker,
        }
        for key, value in self.settings.items():
            values[key] = values[key] | value if isinstance(value, dict) else value
        path = self.folder / f"serve{port}.yaml"
        path.write_text(yaml.safe_dump(values), encoding="utf-8")
        return path, url

    def start(self, program: tuple[str, str], *arguments) -> subprocess.Popen:
        """`program` is ("-m", module) or ("-c", code)."""
        process = subprocess.Popen(
            [sys.executable, *program, *map(str, arguments)],
            cwd=self.folder,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        self.processes.append(process)
        return process

    def start_controller(self) -> subprocess.Popen:
        process = self.start(("-m", "depictqa.serve.controller"), "--cfg", self.config()[0])
        until(lambda: get(f"{self.url}/health"))
        return process

    def start_worker(
        self, slow: bool = False, wait: bool = True, held: bool = False, endless: bool = False, **worker
    ) -> tuple[subprocess.Popen, str]:
        """A worker that is registered, unless nobody waits for that: (process, url)."""
        path, url = self.config(**worker)
        longest = NEVER if endless else 400 if slow or held else 24
        config = tiny_config(self.folder / path.stem, infer={"max_new_tokens": longest})
        code = ENDLESS_WORKER if endless else HELD_WORKER if held else SLOW_WORKER if slow else None
        program = ("-c", code) if code else ("-m", "depictqa.serve.worker")
        process = self.start(program, "--cfg", config, "--serve_cfg", path)
        if wait:
            until(lambda: url in [row["url"] for row in get(f"{self.url}/status").get("workers", [])])
        return process, url

    def post(self, question: str | None = QUESTION, route: str = "/v1/assess", **options) -> httpx.Response:
        """Ask the controller. Keywords are fields; those named ref, a, b with bytes are pictures."""
        files = {name: (name, value) for name, value in options.items() if isinstance(value, bytes)}
        fields = {name: str(value) for name, value in options.items() if not isinstance(value, bytes)}
        if question is not None:
            fields["question"] = question
        return httpx.post(self.url + route, data=fields, files=files, timeout=GIVE_UP_SECONDS, trust_env=False)

    def stream(self, **options):
        """As `post`, streamed: a context that gives the response."""
        files = {name: (name, value) for name, value in options.items() if isinstance(value, bytes)}
        fields = {"question": QUESTION, "stream": "true"}
        fields |= {name: str(value) for name, value in options.items() if not isinstance(value, bytes)}
        return httpx.stream(
            "POST", f"{self.url}/v1/assess", data=fields, files=files, timeout=GIVE_UP_SECONDS, trust_env=False
        )

    def close(self) -> None:
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def chunks(response) -> list[dict]:
    return [json.loads(line) for line in response.iter_lines()]
