"""What `infer.py` does: config and metas are checked whole, then the model is loaded once for all of them."""

import functools
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from depictqa.config import Config, load_config, parse_overrides, require_file
from depictqa.data.meta import read_questions
from depictqa.errors import InputError
from depictqa.inference.assessor import Assessor
from depictqa.inference.calibration import FILE_NAME, read_calibration
from depictqa.inference.runner import FIELDS, Job, Options, fingerprint, run
from depictqa.inference.sampling import Sampling
from depictqa.inference.shards import Group
from depictqa.model.build import build_model, build_preprocessor, pick_device, pick_dtype
from depictqa.model.folder import check_files, explain
from depictqa.model.identity import stamp
from depictqa.model.llm import merge_lora
from depictqa.prompts import get_task

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


def infer(
    config_path: str,
    overrides: Sequence[str],
    meta_paths: Sequence[str] | None = None,
    dataset_names: Sequence[str] | None = None,
    task_names: Sequence[str] | None = None,
    batch_size: int | None = None,
) -> list[Path]:
    """Answer meta files; what is None comes from `data.infer` of the config.

    Returns:
        the answer files, one per meta file.
    """
    group = Group()
    config, batch_size, jobs = group.share(
        lambda: read_jobs(config_path, overrides, meta_paths, dataset_names, task_names, batch_size)
    )
    group.use(pick_device(config.device))
    options = Options(
        answer_dir=Path(config.infer.answer_dir),
        batch_size=batch_size,
        sampling=replace(build_sampling(config), seed=config.seed),
        output_prob_id=config.infer.output_prob_id,
        output_confidence=config.infer.output_confidence,
        output_score=config.infer.output_score,
        max_broken=config.infer.max_broken,
        num_workers=config.data.num_workers,
        tokens=image_tokens(config),
    )
    return run(jobs, lazy_assessor(config), build_preprocessor(config), options, group)


def read_jobs(
    config_path: str,
    overrides: Sequence[str],
    meta_paths: Sequence[str] | None,
    dataset_names: Sequence[str] | None,
    task_names: Sequence[str] | None,
    batch_size: int | None,
) -> tuple[Config, int, list[Job]]:
    """All that a command asks for, checked whole: config, batch size and jobs. Raises InputError."""
    config = load_config(config_path, parse_overrides(list(overrides)))
    given = config.data.infer
    metas = _listed(meta_paths, given.meta_path, "meta_path")
    names = _matched(_listed(dataset_names, given.dataset_name, "dataset_name"), len(metas), "dataset_name")
    tasks = _listed(task_names, given.task_name, "task_name")
    tasks = _matched(tasks * len(metas) if len(tasks) == 1 else tasks, len(metas), "task_name")
    batch_size = next(value for value in (batch_size, given.batch_size, 1) if value is not None)
    if batch_size < 1:
        raise InputError(f"--batch_size: expected at least 1, found {batch_size}")
    lazy_assessor(config)  # absent weights are reported first
    root_dir = Path(config.data.root_dir)
    jobs = []
    for meta, name, task_name in zip(metas, names, tasks, strict=True):
        task, path = get_task(task_name, inference=True), _find(meta, root_dir)
        if config.infer.output_score and task.compares:
            raise InputError(f"infer.output_score: scores are about one image; {task.name} compares two")
        jobs.append(Job(task, name, read_questions(path, task, root_dir), _fingerprint(config)))
    _check_distinct([job.name for job in jobs])
    return config, batch_size, jobs


def image_tokens(config: Config) -> Callable[[int, int], int]:
    """A function: (W, H) of a prepared picture -> image tokens that the model makes of it."""
    if config.model.abstractor is not None:
        fixed = config.model.abstractor.num_query
    elif config.model.vision_feature_type == "global":
        fixed = 1
    else:
        patch = config.vision_preprocess.patch_size
        return lambda width, height: (width // patch) * (height // patch)
    return lambda width, height: fixed


def build_sampling(config: Config) -> Sampling:
    return Sampling(config.infer.temperature, config.infer.top_p, config.infer.max_new_tokens)


def lazy_assessor(config: Config) -> Callable[[], Assessor]:
    """A function that loads the model on its first call. The files it needs are checked right away."""
    paths = [require_file(config, f"model.{key}") for key in ("vision_encoder_path", "llm_path", "delta_path")]
    device = pick_device(config.device)
    sentence_model = None
    if config.infer.output_confidence and config.infer.sentence_model is not None:
        sentence_model = SentenceEncoder(require_file(config, "infer.sentence_model"), device)

    calibration = read_calibration(paths[2].with_name(FILE_NAME), paths[2])

    @functools.cache
    def load() -> Assessor:
        model = build_model(config, device, pick_dtype(config.dtype, device, paths[1]))
        merge_lora(model.llm)
        if device.type == "cpu":
            model.least_share = 1  # pictures of one size go through the encoder together: there, padding is lost time
        return Assessor(model, sentence_model, calibration)

    return load


class SentenceEncoder:
    """A `SentenceTransformer` that is imported and loaded when the first long answer needs it: many jobs have none.

    Raises:
        InputError: a file of the folder cannot be read. Every file is checked here, before any question is answered.
    """

    def __init__(self, folder: Path, device: torch.device):
        check_files(folder)
        self._folder, self._device = folder, device

    @functools.cached_property
    def _model(self) -> "SentenceTransformer":
        from sentence_transformers import SentenceTransformer

        try:
            return SentenceTransformer(str(self._folder), device=str(self._device))
        except Exception as error:  # a broken file may lead the libraries to any
            raise explain(self._folder, "not a sentence model", error) from error

    def encode(self, sentences: list[str], **options) -> np.ndarray:
        """Embeddings [sentences, width]; `options` are those of `SentenceTransformer.encode`."""
        return self._model.encode(sentences, **options)


def _listed(from_command_line, from_config, flag: str) -> list[str]:
    values = from_command_line if from_command_line else [from_config] if from_config else []
    if not values:
        raise InputError(f"--{flag} is missing; give it on the command line or as data.infer.{flag} in the config")
    return list(values)


def _matched(values: list[str], count: int, flag: str) -> list[str]:
    if len(values) != count:
        raise InputError(f"--{flag}: expected {count} values, one per --meta_path, found {len(values)}")
    return values


def _check_distinct(names: list[str]) -> None:
    """Raises InputError where two metas would share an answer file."""
    for name in names:
        if names.count(name) > 1:
            raise InputError(
                f"--dataset_name: {names.count(name)} metas would write {name}.json; name each differently"
            )


def _find(meta: str, root_dir: Path) -> Path:
    """A meta file, relative to data.root_dir or to the working directory."""
    for path in (root_dir / meta, Path(meta)):
        if path.is_file():
            return path
    raise InputError(f"--meta_path: {root_dir / meta} does not exist (paths are relative to data.root_dir)")


def _fingerprint(config: Config) -> str:
    """Of all that answers depend on, but for the items: settings, the stamps of all weights' files, and a row's fields, so
    that no file mixes rows with and without one."""
    weights = [config.model.vision_encoder_path, config.model.llm_path, config.model.delta_path]
    weights.append(str(Path(str(config.model.delta_path)).with_name(FILE_NAME)))
    if config.infer.output_confidence and config.infer.sentence_model is not None:
        weights.append(config.infer.sentence_model)
    settings = config.model_dump(include={"model", "vision_preprocess", "device", "dtype"})
    settings["infer"] = config.infer.model_dump(exclude={"answer_dir", "max_broken"})
    if config.infer.temperature > 0:
        settings["seed"] = config.seed
    return fingerprint(
        " ".join(FIELDS),
        json.dumps(settings, sort_keys=True),
        *(stamp(path) for path in weights),
    )
