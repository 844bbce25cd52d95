"""A run over two machines is the run of one."""

import os
import subprocess
import sys

import pytest

from namespaces import IN_NAMESPACE, needs_iproute
from training.runs import SRC, make_items, make_run, metrics_of, torchrun, train

PORT = 29511


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
