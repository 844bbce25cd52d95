"""Two machines, as the kernel can play them: network namespaces joined by a cable, a launcher in each."""

import os
import shutil
import subprocess
import sys

import pytest

from training.runs import SRC, make_items, make_run, metrics_of, torchrun, train

PORT = 29511


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@pytest.fixture
def nodes():
    """Names of two namespaces, 10.77.0.1 and 10.77.0.2, that see nothing but each other."""
    names = [f"depictqa{rank}-{os.getpid()}" for rank in range(2)]
    cables = [f"dq{rank}x{os.getpid()}" for rank in range(2)]
    try:
        for name in names:
            ip("netns", "add", name)
        ip("link", "add", cables[0], "type", "veth", "peer", "name", cables[1])
        for number, (name, cable) in enumerate(zip(names, cables, strict=True), 1):
            ip("link", "set", cable, "netns", name)
            ip("-n", name, "link", "set", cable, "name", "cable")
            ip("-n", name, "addr", "add", f"10.77.0.{number}/24", "dev", "cable")
            for device in ("cable", "lo"):
                ip("-n", name, "link", "set", device, "up")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs the right to make network namespaces")
    else:
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("ip") is None, reason="needs iproute2")
def test_a_run_over_two_nodes_is_the_run_of_one(tmp_path, nodes):
    """As docs/training.md says it: torchrun on each machine, and one network device for all."""
    options = ["--set", "model.lora={lora_dropout: 0.0}"]
    shared = make_run(tmp_path / "shared", make_items(16), deepspeed={"gradient_accumulation_steps": 1})
    rendezvous = ["--nnodes=2", "--master_addr=10.77.0.1", f"--master_port={PORT}"]
    processes = [
        subprocess.Popen(
            ["ip", "netns", "exec", node, sys.executable, *torchrun(1, *rendezvous, f"--node_rank={rank}")]
            + [str(SRC / "train.py"), "--cfg", str(shared), *options],
            env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "cable", "NCCL_SOCKET_IFNAME": "cable"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank, node in enumerate(nodes)
    ]
    try:
        outputs = [process.communicate(timeout=150)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert not any(process.returncode for process in processes), "\n".join(outputs)
    alone = make_run(tmp_path / "alone", make_items(16))
    train(alone, *options[1:])
    assert len(metrics_of(shared)) == 4
    for row, expected in zip(metrics_of(shared), metrics_of(alone), strict=True):
        assert row["loss"] == pytest.approx(expected["loss"], rel=1e-5)
