"""Does the page's server keep what it was asked? Its memory and open files over thousands of questions.

    python benchmarks/page.py --questions 1000 --rounds 5

A controller that answers at once with ten chunks stands behind a real page; eight clients ask as a browser does, through
Gradio's queue. Every second round each question comes from a browser tab of its own.
"""

import argparse
import asyncio
import json
import os
import random
import string
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]  # the tests' own parts of the demo

import httpx
import uvicorn
import yaml
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse

from processes import free_port, until
from tests.serve.browser import is_up

CLIENTS, CHUNKS = 8, 10
TEXTS = [" ".join(["word"] * count) for count in range(1, CHUNKS + 1)]
LINES = [json.dumps({"text": text}) + "\n" for text in TEXTS]
LAST = json.dumps({"text": TEXTS[-1], "done": True, "confidence": 0.5, "tokens": [[" word", 0.9]] * CHUNKS}) + "\n"


def start_controller(port: int) -> None:
    app = FastAPI()

    @app.get("/v1/models")
    async def models():
        return {"data": [{"id": "Fast"}]}

    @app.post("/v1/assess")
    async def assess(request: Request):
        await request.body()
        return StreamingResponse(iter([*LINES, LAST]))

    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning"))
    threading.Thread(target=server.run, daemon=True).start()


def new_tab() -> str:
    return "".join(random.choices(string.ascii_lowercase, k=11))


async def ask(http: httpx.AsyncClient, function: int, picture: str, tab: str) -> None:
    data = [{"key": "k", "a": picture}, "What?", "Fast", 0, 0.9, 24]
    event = {"data": data, "fn_index": function, "session_hash": tab, "trigger_id": None, "event_data": None}
    (await http.post("/gradio_api/queue/join", json=event)).raise_for_status()
    states = []
    async with http.stream("GET", "/gradio_api/queue/data", params={"session_hash": tab}) as response:
        async for line in response.aiter_lines():
            message = json.loads(line[5:]) if line.startswith("data:") else {}
            states.append(message.get("msg"))
            if message.get("msg") == "process_completed" and not message["success"]:
                raise RuntimeError(message)
            if message.get("msg") == "close_stream":
                break
    if "process_completed" not in states:
        raise RuntimeError(f"no answer: {states}")


async def measure(url: str, pid: int, questions: int, rounds: int) -> None:
    limits = httpx.Limits(max_connections=4 * CLIENTS)
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=60, limits=limits) as http:
        config = (await http.get("/config")).json()
        function = next(row["id"] for row in config["dependencies"] if row["api_name"] == "answer")
        picture = (await http.post("/pictures", content=b"x" * 1000)).json()["id"]

        async def client(is_fresh: bool) -> None:
            tab = new_tab()
            for _ in range(questions // CLIENTS):
                await ask(http, function, picture, new_tab() if is_fresh else tab)

        for number in range(rounds):
            start = time.monotonic()
            await asyncio.gather(*(client(number % 2 == 1) for _ in range(CLIENTS)))
            seconds = time.monotonic() - start
            status = Path(f"/proc/{pid}/status").read_text()
            rss = next(int(line.split()[1]) / 1000 for line in status.splitlines() if line.startswith("VmRSS"))
            tabs = "a tab for each question" if number % 2 else f"{CLIENTS} tabs"
            files = len(os.listdir(f"/proc/{pid}/fd"))
            print(
                f"{questions} questions, {tabs}: {questions / seconds:.0f}/s, RSS {rss:.1f} MB, {files} open files",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description="Memory and open files of the page's server, over many questions.")
    parser.add_argument("--questions", type=int, default=1000, help="in each round")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        controller, page = free_port(), free_port()
        start_controller(controller)
        values = {"log_dir": folder, "gradio": {"port": page, "controller_url": f"http://127.0.0.1:{controller}"}}
        path = Path(folder) / "serve.yaml"
        path.write_text(yaml.safe_dump(values), encoding="utf-8")
        command = [sys.executable, "-m", "depictqa.serve.web", "--cfg", str(path)]
        process = subprocess.Popen(command)
        try:
            url = f"http://127.0.0.1:{page}"
            until(lambda: is_up(url))
            asyncio.run(measure(url, process.pid, args.questions, args.rounds))
        finally:
            process.terminate()
            process.wait()


if __name__ == "__main__":
    main()
