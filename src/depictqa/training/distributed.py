"""The processes of a run: started by `deepspeed`, by `torchrun`, or plain `python` as a world of one."""

import atexit
import gc
import os
import socket
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import distributed

from depictqa.errors import EXIT_CODE, InputError

T = TypeVar("T")
LAUNCHED = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


def start(device: torch.device) -> torch.device:
    """Join the other processes (nccl on GPUs, gloo on CPUs).

    Returns:
        this process's device.
    """
    os.environ["DS_ACCELERATOR"] = device.type  # read when deepspeed is imported
    import deepspeed.comm  # noqa: F401  before there is a group: its functions would keep that as a default, for good

    backend = {"cuda": "nccl", "cpu": "gloo"}[device.type]
    os.environ.setdefault("LOCAL_RANK", "0")
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    if distributed.is_initialized():  # by an earlier run of this process
        return device
    if all(name in os.environ for name in LAUNCHED):
        distributed.init_process_group(backend)
    else:
        # takes a free port; torch documents the class, but leaves it out of __all__
        store = distributed.TCPStore("127.0.0.1", 0, 1, is_master=True)  # pyright: ignore[reportPrivateImportUsage]
        distributed.init_process_group(backend, store=store, rank=0, world_size=1)
    atexit.register(_leave)
    return device


def _leave() -> None:
    """Drop every reference to the groups, which ends gloo's threads.

    One that still lets go of a tensor while Python shuts down aborts the process: a finished run would be a failed one.
    """
    import deepspeed.comm

    if deepspeed.comm.is_initialized():  # the model was built
        deepspeed.comm.destroy_process_group()  # torch's own, and what DeepSpeed keeps of it
    else:
        distributed.destroy_process_group()
    gc.collect()


def is_first() -> bool:
    return distributed.get_rank() == 0


def say(text: str) -> None:
    """Print a line, once for all ranks."""
    if is_first():
        print(text, flush=True)


def together(work: Callable[[], T]) -> T:
    """Run `work` on every rank.

    Raises:
        InputError: on rank 0, if `work` raised it on any rank; the other ranks exit without a word.
    """
    results: list[T] = []
    error = None
    try:
        results.append(work())
    except InputError as caught:
        error = str(caught)
    errors = [error] * distributed.get_world_size()
    distributed.all_gather_object(errors, error)
    fail_together(next((found for found in errors if found is not None), None))
    return results[0]


def fail_together(error: str | None) -> None:
    """Raise an error that every rank knows, on rank 0; the other ranks exit without a word. None: go on."""
    if error is not None:
        if is_first():
            raise InputError(error)
        sys.exit(EXIT_CODE)


def from_first(work: Callable[[], T]) -> T:
    """Run `work` on rank 0 and hand its result to every rank. Raises InputError as `together`."""
    outcome: list[Any] = [together(lambda: work() if is_first() else None)]
    distributed.broadcast_object_list(outcome)
    return outcome[0]


def check_shared(folder: Path, where: str) -> None:
    """Every rank sees what rank 0 writes in `folder`: checkpoints are made of files of all ranks, and renamed by rank 0.

    Args:
        where: config file and key of the folder, for the message.

    Raises:
        InputError: on rank 0, if some rank sees another folder; names its machine.
    """
    token = from_first(lambda: _leave_token(folder))
    blind = None if folder.is_dir() and token in os.listdir(folder) else socket.gethostname()
    hosts = [blind] * distributed.get_world_size()
    distributed.all_gather_object(hosts, blind)
    if is_first():
        (folder / token).unlink(missing_ok=True)
    if names := ", ".join(sorted({host for host in hosts if host is not None})):
        fail_together(
            f"{where}: {folder} on {names} is not the folder that the first process ({socket.gethostname()}) writes to; name a "
            "folder on a disk that all machines share"
        )


def _leave_token(folder: Path) -> str:
    descriptor, path = tempfile.mkstemp(prefix=".shared-", dir=folder)
    os.close(descriptor)
    return os.path.basename(path)
