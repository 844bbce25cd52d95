"""DepictQA in lmms-eval, found by the entry point `lmms_eval.models` of this package.

    lmms-eval --model depictqa --model_args pretrained=nano --tasks qbench_dev --batch_size 8

One process, greedy unless the config says otherwise. An answer's longest length is `max_new_tokens` of `--model_args`,
else the config's; a task's own is not read, since our answers end by themselves.
"""
# pyright: reportMissingImports=false
# The harness is installed by those who use it.

from typing import Any

from lmms_eval.api.instance import Instance
from lmms_eval.api.model import lmms
from lmms_eval.models.registry_v2 import ModelManifest
from lmms_eval.protocol import ChatMessages

import depictqa
from depictqa.harnesses import as_question


def manifest() -> ModelManifest:
    """What the entry point names."""
    return ModelManifest(model_id="depictqa", chat_class_path=f"{__name__}.DepictQA")


class DepictQA(lmms):
    """Answers `generate_until` tasks.

    Args:
        pretrained: what `depictqa.load` takes: "nano", an experiment's folder or a config.yaml.
        device, dtype: as of `depictqa.load`.
        batch_size: questions in work at a time.
        max_new_tokens: longest answer; None: `infer.max_new_tokens` of the config.
    """

    is_simple = False

    def __init__(
        self,
        pretrained: str = "nano",
        device: str = "auto",
        dtype: str = "auto",
        batch_size: int | str = 8,
        max_new_tokens: int | None = None,
    ):
        super().__init__()
        infer = {} if max_new_tokens is None else {"max_new_tokens": max_new_tokens}
        self.dq = depictqa.load(pretrained, device=device.split(":")[0], dtype=dtype, infer=infer)
        self.batch_size = int(batch_size)

    @property
    def device(self):
        return self.dq.assessor.model.device

    def generate_until(self, requests: list[Instance]) -> list[str]:
        questions, stops = [], []
        for _, doc_to_messages, sampling, doc_id, task, split in (request.args for request in requests):
            content = ChatMessages(messages=doc_to_messages(self.task_dict[task][split][doc_id]))
            images, _, _ = content.extract_media()
            texts = [part.text for message in content.messages for part in message.content if part.type == "text"]
            questions.append(as_question(images, "\n".join(texts)))
            stops.append(_listed(sampling.get("until")))
        answers = self.dq.ask_many(questions, batch_size=self.batch_size, progress=True)
        return [_before(answer.text, stop) for answer, stop in zip(answers, stops, strict=True)]

    def loglikelihood(self, requests: list[Instance]):
        raise NotImplementedError("DepictQA answers in text: choose a task of output_type generate_until")

    def generate_until_multi_round(self, requests: list[Instance]):
        raise NotImplementedError("DepictQA answers single questions: choose a task of output_type generate_until")


def _listed(until: Any) -> list[str]:
    return [until] if isinstance(until, str) else list(until or ())


def _before(text: str, stops: list[str]) -> str:
    """The text up to the first stop."""
    return text[: min((text.find(stop) for stop in stops if stop and stop in text), default=len(text))].strip()
