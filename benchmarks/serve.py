"""Load figures of the server: `python benchmarks/serve.py` (a few minutes on two cores).

    python benchmarks/serve.py                 Nano: 16 clients against one question at a time; the controller's own cost
    python benchmarks/serve.py --soak 3600     memory and files of controller and worker over an hour

Questions are asked of a real controller and a real worker, processes on this machine. Both ways of asking take turns,
`--rounds` times; every question is about another crop of scikit-image's photos, so that no picture is in the worker's
cache. The controller's own cost is measured with a worker that answers at once, behind it and directly.
"""

import argparse
import asyncio
import io
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]  # the tests' own parts of the demo

import httpx
import numpy as np
import uvicorn
import yaml
from PIL import Image
from skimage import data
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from depictqa.serve.protocol import Chunk
from processes import free_port

CLIENTS = 16
PACE = 300  # requests a second, spread evenly: the load that is promised
QUESTIONS = {
    "a word": {
        "question": "What is the main distortion in this image? Answer the question using a single word or phrase."
    },
    "a description": {"question": "Describe the quality of this image and give your reasons.", "confidence": "false"},
    "a description, its confidence": {"question": "Describe the quality of this image and give your reasons."},
}
NANO = ROOT / "experiments" / "Nano" / "config.yaml"


def crops(count: int) -> list[bytes]:
    """PNG files of 224 x 224 pixels, all different."""
    rng, photos, files = random.Random(0), [data.astronaut(), data.chelsea(), data.coffee()], []
    for number in range(count):
        photo = photos[number % len(photos)]
        top, left = rng.randrange(photo.shape[0] - 224), rng.randrange(photo.shape[1] - 224)
        buffer = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(photo[top : top + 224, left : left + 224])).save(
            buffer, "PNG", compress_level=1
        )
        files.append(buffer.getvalue())
    return files


class Servers:
    """A controller, and a Nano worker if wanted, in processes of their own."""

    def __init__(self, folder: Path, with_worker: bool, slots: int = CLIENTS):
        ports = [free_port(), free_port()]
        self.url, self.worker_url = (f"http://127.0.0.1:{port}" for port in ports)
        worker = {"port": ports[1], "worker_url": self.worker_url, "controller": self.url, "model_name": "Nano"}
        values = {
            "log_dir": str(folder / "log"),
            "controller": {"port": ports[0], "expiry_seconds": 3600},
            "worker": worker | {"limit_model_concurrency": slots, "limit_waiting": 4 * CLIENTS},
        }
        (folder / "serve.yaml").write_text(yaml.safe_dump(values))
        cfg = str(folder / "serve.yaml")
        self.processes = [self._start("controller", "--cfg", cfg)]
        if with_worker:
            self.processes.append(self._start("worker", "--cfg", str(NANO), "--serve_cfg", cfg))
        self._wait("/v1/models" if with_worker else "/health")

    @staticmethod
    def _start(part: str, *arguments: str) -> subprocess.Popen:
        command = [sys.executable, "-m", f"depictqa.serve.{part}", *arguments]
        return subprocess.Popen(command, stderr=subprocess.DEVNULL)

    def _wait(self, route: str) -> None:
        for _ in range(600):
            try:
                answer = httpx.get(self.url + route, trust_env=False).json()
                if answer.get("data", True):
                    return
            except (httpx.HTTPError, ValueError):
                pass
            time.sleep(0.2)
        raise SystemExit("the servers did not come up")

    def close(self) -> None:
        for process in reversed(self.processes):
            process.terminate()
            process.wait()


async def ask_all(
    url: str, pictures: list[bytes], clients: int, fields: dict = QUESTIONS["a word"], rate: float = 0
) -> tuple[float, list[float]]:
    """(requests a second, seconds of each) for one question about each picture, so many at a time.

    With a `rate` (requests a second) the n-th begins no sooner than n / rate, and counts from then. Over plain connections
    that stay open: httpx would take as much of the processor as what is measured.
    """
    requests = {picture: _request(url, fields, picture) for picture in set(pictures)}
    waiting, seconds = [requests[picture] for picture in pictures], []
    host, port = url.split("/")[2].split(":")

    async def work():
        reader, writer = await asyncio.open_connection(host, int(port))
        while waiting:
            due = start + (len(pictures) - len(waiting)) / rate if rate else 0
            request = waiting.pop()
            await asyncio.sleep(max(0, due - time.monotonic()))
            began = due or time.monotonic()
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            assert head.startswith(b"http/1.1 200"), head
            if b"content-length: " in head:
                await reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\r\n")[0]))
            else:
                await reader.readuntil(b"\r\n0\r\n\r\n")  # the last chunk
            seconds.append(time.monotonic() - began)
        writer.close()

    start = time.monotonic()
    await asyncio.gather(*(work() for _ in range(clients)))
    return len(pictures) / (time.monotonic() - start), seconds


def _request(url: str, fields: dict, picture: bytes) -> bytes:
    """The bytes of a request."""
    request = httpx.Request("POST", url, data=fields, files={"a": ("a", picture)})
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    return f"POST {request.url.raw_path.decode()} HTTP/1.1\r\n{head}\r\n".encode() + request.read()


def show(name: str, rates: list[float], seconds: list[float]) -> None:
    ordered = sorted(seconds)
    p50, p95 = statistics.median(ordered), ordered[int(0.95 * (len(ordered) - 1))]
    print(f"| {name} | {statistics.mean(rates):.2f} | {1000 * p50:.1f} | {1000 * p95:.1f} |", flush=True)


def nano(folder: Path, rounds: int, questions: int) -> None:
    """Nano behind the controller: one question at a time, and CLIENTS clients."""
    servers = Servers(folder, with_worker=True)
    url = f"{servers.url}/v1/assess"
    try:
        pictures = crops(len(QUESTIONS) * rounds * 5 * questions + 2 * CLIENTS)
        asyncio.run(ask_all(url, [pictures.pop() for _ in range(2 * CLIENTS)], CLIENTS))
        print("| Nano | requests/s | p50 ms | p95 ms |\n|---|---|---|---|")
        for name, fields in QUESTIONS.items():
            rates, seconds = {1: [], CLIENTS: []}, {1: [], CLIENTS: []}
            for _ in range(rounds):
                for clients, count in (1, questions), (CLIENTS, 4 * questions):
                    rate, took = asyncio.run(ask_all(url, [pictures.pop() for _ in range(count)], clients, fields))
                    rates[clients].append(rate)
                    seconds[clients] += took
            show(f"{name}, one at a time", rates[1], seconds[1])
            show(f"{name}, {CLIENTS} clients", rates[CLIENTS], seconds[CLIENTS])
            print(f"| ratio | {statistics.mean(rates[CLIENTS]) / statistics.mean(rates[1]):.2f} | | |")
    finally:
        servers.close()


class InstantWorker:
    """A worker that says the same at once; a thread of its own."""

    def __init__(self):
        lines = Chunk(text="").line() + Chunk(text="Noise", done=True, confidence=0.9, tokens=[("Noise", 0.9)]).line()

        async def assess(request):
            await request.body()
            return PlainTextResponse(lines, media_type="application/x-ndjson")

        settings = uvicorn.Config(
            Starlette(routes=[Route("/assess", assess, methods=["POST"])]), port=0, log_level="error"
        )
        self.server = uvicorn.Server(settings)
        threading.Thread(target=self.server.run, daemon=True).start()
        while not self.server.started:
            time.sleep(0.01)
        self.url = f"http://127.0.0.1:{self.server.servers[0].sockets[0].getsockname()[1]}"


def controller_alone(folder: Path, rounds: int, length: float) -> None:
    """What the controller adds: an instant worker asked directly and through it, at PACE for `length` seconds."""
    servers, worker = Servers(folder, with_worker=False), InstantWorker()
    picture = crops(1)[0][:20_000]
    httpx.post(f"{servers.url}/workers", json={"name": "Instant", "url": worker.url, "slots": 64}, trust_env=False)
    ways = {"directly": f"{worker.url}/assess", "through the controller": f"{servers.url}/v1/assess"}
    rows = {
        f"{way}, {what}": (url, rate)
        for what, rate in (("as fast as it goes", 0), (f"{PACE} a second", PACE))
        for way, url in ways.items()
    }
    rates, seconds = {name: [] for name in rows}, {name: [] for name in rows}
    try:
        for _ in range(rounds):
            for name, (url, rate) in rows.items():
                count = round(length * rate) if rate else 2000
                found, took = asyncio.run(ask_all(url, [picture] * count, CLIENTS, rate=rate))
                rates[name].append(found)
                seconds[name] += took
    finally:
        servers.close()
    print("| instant worker, 16 clients | requests/s | p50 ms | p95 ms |\n|---|---|---|---|")
    for name in rates:
        show(name, rates[name], seconds[name])


def soak(folder: Path, length: float) -> None:
    """Memory and open files over time, by 1,000 requests; what grows in the first half only is no leak."""
    servers = Servers(folder, with_worker=True)

    def state() -> list[tuple[float, int]]:
        pages = [int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) for process in servers.processes]
        files = [len(os.listdir(f"/proc/{process.pid}/fd")) for process in servers.processes]
        return [(page * os.sysconf("SC_PAGE_SIZE") / 1e6, count) for page, count in zip(pages, files)]

    try:
        pictures = crops(64)
        asyncio.run(ask_all(f"{servers.url}/v1/assess", pictures * 2, CLIENTS))  # caches fill
        before = state()
        for half in ("first half", "second half"):
            done, began = 0, time.monotonic()
            while time.monotonic() - began < length / 2:
                asyncio.run(ask_all(f"{servers.url}/v1/assess", pictures, CLIENTS))
                done += len(pictures)
            after = state()
            print(f"{half}: {done} requests in {time.monotonic() - began:.0f} s")
            for name, (memory, files), (memory_after, files_after) in zip(("controller", "worker"), before, after):
                growth = 1000 * (memory_after - memory) / done
                print(f"  {name}: {growth:+.2f} MB per 1,000 requests, open files {files} -> {files_after}", flush=True)
            before = after
    finally:
        servers.close()


def soak_controller(folder: Path, thousands: int = 14) -> None:
    """Memory and open files of the controller alone, over thousands of questions to an instant worker."""
    servers, worker, picture = Servers(folder, with_worker=False), InstantWorker(), crops(1)[0][:20_000]
    httpx.post(f"{servers.url}/workers", json={"name": "Instant", "url": worker.url, "slots": 64}, trust_env=False)
    place = Path(f"/proc/{servers.processes[0].pid}")
    try:
        for done in range(2, thousands + 1, 2):
            asyncio.run(ask_all(f"{servers.url}/v1/assess", [picture] * 2000, CLIENTS))
            pages = int((place / "statm").read_text().split()[1])
            files = len(os.listdir(place / "fd"))
            print(
                f"controller after {done},000 requests: {pages * os.sysconf('SC_PAGE_SIZE') / 1e6:.1f} MB, {files} open files"
            )
    finally:
        servers.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--questions", type=int, default=12, help="asked one at a time in a round; 4 times as many by 16 clients"
    )
    parser.add_argument(
        "--seconds", type=float, default=10, help="how long the controller is asked at its pace in a round"
    )
    parser.add_argument("--only", choices=("nano", "controller"), help="one of the two measurements")
    parser.add_argument("--soak", type=float, help="seconds: measure memory and open files instead")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        if args.soak:
            soak(Path(name), args.soak)
            return soak_controller(Path(name))
        if args.only != "controller":
            nano(Path(name), args.rounds, args.questions)
        if args.only != "nano":
            controller_alone(Path(name), args.rounds, args.seconds)


if __name__ == "__main__":
    main()
