"""Ask one question about every image of a folder, on a Dask cluster.

    python docs/folder_with_dask.py FOLDER OUT --cfg experiments/DQ495K/config.yaml --scheduler tcp://host:8786

The folder is cut into parts, and each part is a meta file and a job of `infer.py` of its own: OUT/metas, OUT/answers. Dask
only hands them out. A part whose worker is lost is given to another one, which asks what is missing; so does the same
command, run again. FOLDER and OUT are on a disk that all workers share; a worker with one thread for each GPU answers:

    CUDA_VISIBLE_DEVICES=0 dask worker tcp://host:8786 --nthreads 1

Without --scheduler, processes of this machine do it.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

from distributed import Client, LocalCluster, as_completed

from depictqa.answers import write_json
from depictqa.inference.program import infer

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".avif", ".heic", ".tif", ".tiff", ".bmp", ".gif", ".jp2", ".ppm"}
TASK = "quality_single_A_noref"
QUESTION = "What distortion is most severe in this image? Answer the question using a single word or phrase."


def parts(folder: Path, size: int) -> Iterator[list[Path]]:
    """The images of a folder and those below it, in parts that are the same every time."""
    paths = sorted(path for path in folder.resolve().rglob("*") if path.suffix.lower() in SUFFIXES)
    return (paths[start : start + size] for start in range(0, len(paths), size))


def answer(number: int, paths: list[Path], args: argparse.Namespace) -> int:
    """Answer one part; how many images it has."""
    name = f"part{number:06d}"
    meta, out = args.out.resolve() / "metas" / f"{name}.json", args.out.resolve() / "answers"
    write_json(meta, [{"id": str(path), "image_A": str(path), "query": args.question} for path in paths])
    infer(str(args.cfg), [f"infer.answer_dir={out}", *args.set], [str(meta)], [name], [TASK], args.batch_size)
    return len(paths)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--cfg", type=Path, required=True)
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="override keys of the config")
    parser.add_argument("--question", default=QUESTION)
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--part", type=int, default=10_000, help="images of a part; the model is loaded once for each")
    parser.add_argument("--scheduler", help="address of a Dask scheduler")
    parser.add_argument("--workers", type=int, default=1, help="processes, where there is no scheduler")
    args = parser.parse_args()
    cluster = args.scheduler or LocalCluster(n_workers=args.workers, threads_per_worker=1, dashboard_address=None)
    with Client(cluster) as client:
        jobs = [client.submit(answer, *part, args, pure=False) for part in enumerate(parts(args.folder, args.part))]
        done = 0
        for job in as_completed(jobs):
            done += job.result()
            print(f"{done:,} images answered", flush=True)


if __name__ == "__main__":
    main()
