"""Calls in parallel, by joblib: processes of this machine, or those of a Dask or Ray cluster."""

import argparse
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import joblib

from depictqa.errors import InputError

BACKENDS = ("loky", "dask", "ray")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags that `backend` reads."""
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes; nothing but time depends on it")
    parser.add_argument("--backend", choices=BACKENDS, default="loky", help="loky: this machine")
    parser.add_argument("--cluster", help="address of a running Dask or Ray cluster; without it one is started here")


@contextmanager
def backend(args: argparse.Namespace) -> Iterator[None]:
    """Within it, `run` uses the processes that were asked for.

    Raises:
        InputError: no processes, the package of the backend is not installed, or its cluster does not answer.
    """
    if args.workers < 1:
        raise InputError(f"--workers: expected at least 1, found {args.workers}")
    if args.cluster and args.backend == "loky":
        raise InputError("--cluster: expected --backend dask or --backend ray with it")
    start = {"loky": _loky, "dask": _dask, "ray": _ray}[args.backend]
    try:
        with start(args), joblib.parallel_config(backend=args.backend, n_jobs=-1 if args.cluster else args.workers):
            yield
    except ModuleNotFoundError as error:
        if error.name not in ("distributed", "dask", "ray"):
            raise
        raise InputError(f"--backend {args.backend}: the package '{error.name}' is not installed") from None


def run(calls: Iterable) -> Iterator[Any]:
    """The results of `joblib.delayed` calls, as they are ready."""
    return iter(joblib.Parallel(return_as="generator_unordered")(calls))


@contextmanager
def _loky(_: argparse.Namespace) -> Iterator[None]:
    yield


@contextmanager
def _dask(args: argparse.Namespace) -> Iterator[None]:
    from distributed import Client, LocalCluster

    try:
        if args.cluster:
            with Client(args.cluster, timeout=30):
                yield
        else:
            with (
                LocalCluster(
                    n_workers=args.workers,
                    threads_per_worker=1,
                    dashboard_address=None,  # pyright: ignore[reportArgumentType]  # documented: no dashboard
                ) as cluster,
                Client(cluster),
            ):
                yield
    except (OSError, ValueError) as error:
        if not args.cluster:
            raise
        raise InputError(f"--cluster {args.cluster}: {error}") from None


@contextmanager
def _ray(args: argparse.Namespace) -> Iterator[None]:
    import ray  # pyright: ignore[reportMissingImports]  # those who have a Ray cluster have it
    from ray.util.joblib import register_ray  # pyright: ignore[reportMissingImports]

    ray.init(address=args.cluster, num_cpus=None if args.cluster else args.workers, log_to_driver=False)
    try:
        register_ray()
        yield
    finally:
        ray.shutdown()
