"""Answers, token by token, for a batch of prompts of any lengths.

Knows nothing of files, tasks or confidences. A row that ended leaves the batch, so that a long answer does not keep
short ones computing; padding is masked and has no position, so that an answer does not depend on its batch.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from transformers import DynamicCache

from depictqa.model.depictqa import DepictQA
from depictqa.model.fusion import Fused, collate
from depictqa.model.tokenizer import Tokenizer

STOP_WINDOW = 8  # last tokens that are searched for an end that is several tokens long


@dataclass(frozen=True)
class Sampling:
    """How answers are drawn. temperature 0 is greedy; `top_p` is the nucleus (Holtzman et al., 2020)."""

    temperature: float = 0.0
    top_p: float = 0.9
    max_new_tokens: int = 400


@dataclass
class Answer:
    """A generated answer. `output_id` and `prob` go together: every token, end included, with its probability."""

    text: str = ""
    output_id: list[int] = field(default_factory=list)
    prob: list[float] = field(default_factory=list)


class Ends:
    """When an answer is over: at the end-of-sequence token, or at the format's separator, as one token or as text."""

    def __init__(self, tokenizer: Tokenizer, sep2: str):
        self._tokenizer = tokenizer
        separator_id = tokenizer.token_id(sep2)
        self.ids = {tokenizer.eos_token_id, separator_id} - {None}
        self.text = sep2 if separator_id is None and sep2.strip() else None

    def reached(self, output_id: list[int]) -> bool:
        if output_id[-1] in self.ids:
            return True
        return self.text is not None and self.text in self._tokenizer.decode(output_id[-STOP_WINDOW:])

    def strip(self, text: str) -> str:
        """An answer's text without its end and surrounding white space."""
        return (text if self.text is None else text.split(self.text)[0]).strip()


@torch.inference_mode()
def stream(
    model: DepictQA,
    prompts: Sequence[Fused],
    sampling: Sampling | Sequence[Sampling],
    generator: torch.Generator | None = None,
) -> Iterator[list[tuple[int, int, float]]]:
    """Generate answers, yielding after every step what it added: [(row, token id, probability), ...].

    Args:
        prompts: B fused questions.
        sampling: one for all rows, or one each.
        generator: random numbers of sampling, on the CPU.

    A probability is the model's own (temperature 1, whole vocabulary). A caller may `send` row numbers to drop.
    """
    samplings = [sampling] * len(prompts) if isinstance(sampling, Sampling) else list(sampling)
    ends = Ends(model.tokenizer, model.format.sep2)
    batch = collate(prompts, model.embed_tokens, padding_side="left")
    llama = model.llm.get_base_model()
    cache = DynamicCache(config=llama.config)
    rows = list(range(len(prompts)))
    outputs: list[list[int]] = [[] for _ in prompts]
    mask, positions = batch.attention_mask, batch.position_ids  # [b, T]
    hidden = llama.model(
        inputs_embeds=batch.inputs_embeds, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
    ).last_hidden_state  # [b, T, D]
    while True:
        logits = llama.lm_head(hidden[:, -1]).float()  # [b, V]
        probabilities = logits.softmax(-1)
        chosen = _choose(logits, [samplings[row] for row in rows], generator)  # [b]
        tokens = chosen.tolist()
        probs = probabilities.gather(1, chosen[:, None])[:, 0].tolist()
        for row, token in zip(rows, tokens, strict=True):
            outputs[row].append(token)
        dropped = (yield list(zip(rows, tokens, probs, strict=True))) or ()
        going = [
            index
            for index, row in enumerate(rows)
            if row not in dropped
            and len(outputs[row]) < samplings[row].max_new_tokens
            and not ends.reached(outputs[row])
        ]
        if not going:
            return
        if len(going) < len(rows):
            index = torch.tensor(going, device=mask.device)
            cache.batch_select_indices(index)
            mask, positions, chosen = mask[index], positions[index], chosen[index]
            rows = [rows[i] for i in going]
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)  # [b, T + 1]
        positions = positions[:, -1:] + 1  # [b, 1]
        hidden = llama.model(
            inputs_embeds=model.embed_tokens(chosen)[:, None],  # [b, 1, D]
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state


def _choose(logits: torch.Tensor, samplings: Sequence[Sampling], generator: torch.Generator | None) -> torch.Tensor:
    """One token id per row of logits [b, V]."""
    chosen = logits.argmax(-1)
    for row, sampling in enumerate(samplings):
        if sampling.temperature <= 0:
            continue
        probabilities = (logits[row] / sampling.temperature).softmax(-1).cpu()  # [V]
        descending, ids = probabilities.sort(descending=True)
        outside = descending.cumsum(0) - descending > sampling.top_p  # the token that crosses top_p stays in
        drawn = torch.multinomial(descending.masked_fill(outside, 0), 1, generator=generator)
        chosen[row] = ids[drawn[0]]
    return chosen


def generate(
    model: DepictQA,
    prompts: Sequence[Fused],
    sampling: Sampling | Sequence[Sampling],
    generator: torch.Generator | None = None,
) -> list[Answer]:
    """Answers to B fused questions, in their order. Arguments as for `stream`."""
    answers = [Answer() for _ in prompts]
    for step in stream(model, prompts, sampling, generator):
        for row, token, prob in step:
            answers[row].output_id.append(token)
            answers[row].prob.append(prob)
    ends = Ends(model.tokenizer, model.format.sep2)
    for answer in answers:
        answer.text = ends.strip(model.tokenizer.decode(answer.output_id))
    return answers
