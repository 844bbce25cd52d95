"""A run over two machines is the run of one."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from namespaces import IN_NAMESPACE, needs_iproute
from processes import GIVE_UP_SECONDS
from training.runs import SRC, make_items, make_run, metrics_of, torchrun, train

PORT = 29511


def check_losses(shared: Path, folder: Path, options: list[str]) -> None:
    """Those of the run over two machines are those of one process, which runs in `folder`."""
    alone = make_run(folder, make_items(16))
    train(alone, *options[1:])
    assert len(metrics_of(shared)) == 4
    for row, expected in zip(metrics_of(shared), metrics_of(alone), strict=True):
        assert row["loss"] == pytest.approx(expected["loss"], rel=1e-5)


@pytest.mark.slow
@needs_iproute
def test_a_run_over_two_nodes_is_the_run_of_one(tmp_path, nodes):
    """As docs/training.md says it: torchrun on each machine, and one network device for all."""
    options = ["--set", "model.lora={lora_dropout: 0.0}"]
    shared = make_run(tmp_path / "shared", make_items(16), deepspeed={"gradient_accumulation_steps": 1})
    rendezvous = ["--nnodes=2", "--master_addr=10.77.0.1", f"--master_port={PORT}"]
    processes = [
        subprocess.Popen(
            [*IN_NAMESPACE, node, sys.executable, *torchrun(1, *rendezvous, f"--node_rank={rank}")]
            + [str(SRC / "train.py"), "--cfg", str(shared), *options],
            env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "cable", "NCCL_SOCKET_IFNAME": "cable"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank, node in enumerate(nodes)
    ]
    try:
        outputs = [process.communicate(timeout=GIVE_UP_SECONDS)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert not any(process.returncode for process in processes), "\n".join(outputs)
    check_losses(shared, tmp_path / "alone", options)


@pytest.fixture
def ssh(tmp_path, nodes):
    """Both nodes let this user in by a key. Gives a folder whose `ssh`, the real one, shows it."""
    sshd = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:" + os.environ["PATH"])
    if not (sshd and shutil.which("ssh") and shutil.which("pdsh")):
        pytest.skip("needs ssh, sshd and pdsh")
    folder = tmp_path / "ssh"
    folder.mkdir()
    for name in ("host", "mine"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    options = "-F none -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
    (folder / "ssh").write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} {options} -i {folder}/mine "$@"\n')
    (folder / "ssh").chmod(0o755)
    Path("/run/sshd").mkdir(exist_ok=True)
    (folder / "sshd_config").write_text(
        f"HostKey {folder}/host\nAuthorizedKeysFile {folder}/mine.pub\nStrictModes no\nUsePAM no\nPidFile none\n"
    )
    servers = [
        subprocess.Popen(
            [*IN_NAMESPACE, node, sshd, "-D", "-e", "-f", str(folder / "sshd_config")], stderr=subprocess.PIPE
        )
        for node in nodes
    ]
    for server in servers:
        assert b"listening" in server.stderr.readline()
    yield folder
    for server in servers:
        server.kill()


@pytest.mark.slow
@needs_iproute
def test_a_hostfile_trains_on_all_its_machines(tmp_path, nodes, ssh):
    """`HOSTFILE=hosts sh train.sh`: DeepSpeed's launcher starts the processes over ssh."""
    experiments = tmp_path / "experiments"
    shared = make_run(experiments / "X", make_items(16), deepspeed={"gradient_accumulation_steps": 1})
    (experiments / "_base_").symlink_to(SRC.parent / "experiments" / "_base_")
    (tmp_path / "src").symlink_to(SRC)
    (shared.parent / "hosts").write_text("10.77.0.1 slots=1\n10.77.0.2 slots=1\n")
    (shared.parent / ".deepspeed_env").write_text("GLOO_SOCKET_IFNAME=cable\nOMP_NUM_THREADS=1\nHF_HUB_OFFLINE=1\n")
    options = ["--set", "model.lora={lora_dropout: 0.0}"]
    done = subprocess.run(
        [*IN_NAMESPACE, nodes[0], "sh", "../_base_/train.sh", *options],
        cwd=shared.parent,
        env={**os.environ, "PATH": f"{ssh}:{os.environ['PATH']}", "PYTHON": sys.executable, "HOSTFILE": "hosts"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=GIVE_UP_SECONDS,
    )
    assert done.returncode == 0, done.stdout
    check_losses(shared, tmp_path / "alone", options)
