"""Answers, token by token, for a batch of prompts of any lengths.

Knows nothing of files, tasks or confidences. Nothing is read twice: not what prompts have in common, nor what a second
question to a row has in common with the first. Rows join and leave the batch at any step, so that no answer waits for
another one's end; padding is masked and has no position, so that an answer does not depend on its batch.
"""

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import nn
from transformers import DynamicCache

from depictqa.inference import sharing
from depictqa.inference.sharing import Beginning
from depictqa.model.depictqa import DepictQA
from depictqa.model.fusion import Fused, collate
from depictqa.model.tokenizer import Tokenizer

Past = list[tuple[torch.Tensor, torch.Tensor]]  # keys and values of each layer, [1, heads, T, d]
Read = dict[Beginning, Past]
FinishReason = Literal["stop", "length"]  # an answer's own end (or a stop text), or `max_new_tokens`
STOP_WINDOW = 8  # last tokens that are searched for an end that is several tokens long


@dataclass(frozen=True)
class Sampling:
    """How an answer is drawn, and where it ends.

    Args:
        temperature: 0 is greedy.
        top_p: the nucleus (Holtzman et al., 2020).
        max_new_tokens: an answer that has no end by then is cut.
        stop: texts that end an answer; neither they nor what follows them is part of its `text`.
        seed: the draws are a function of it alone, whatever else is in the batch; None: fresh draws.
    """

    temperature: float = 0.0
    top_p: float = 0.9
    max_new_tokens: int = 400
    stop: tuple[str, ...] = ()
    seed: int | None = None

    @property
    def of_follow_up(self) -> "Sampling":
        """For a question that is ours: stop texts are about the answer to the user's."""
        return replace(self, stop=())


@dataclass
class Answer:
    """A generated answer. `output_id` and `prob` go together: every token, end included, with its probability.

    `finish_reason` says why it ended (None: it has not). `second` is the answer to its follow-up question, where one
    was asked.
    """

    text: str = ""
    output_id: list[int] = field(default_factory=list)
    prob: list[float] = field(default_factory=list)
    finish_reason: FinishReason | None = None
    second: "Answer | None" = None


class Ends:
    """Where an answer is over: at the end-of-sequence token, at the format's separator (one token or a text), or at one
    of the user's stop texts."""

    def __init__(self, tokenizer: Tokenizer, sep2: str):
        self._tokenizer = tokenizer
        separator_id = tokenizer.token_id(sep2)
        self.ids = {tokenizer.eos_token_id, separator_id} - {None}
        self.text = sep2 if separator_id is None and sep2.strip() else None

    def finish_reason(self, output_id: list[int], sampling: Sampling) -> FinishReason | None:
        """Why an answer with these tokens is over; None: it goes on."""
        if output_id[-1] in self.ids:
            return "stop"
        if self.text is not None and self.text in self._tokenizer.decode(output_id[-STOP_WINDOW:]):
            return "stop"
        if sampling.stop:  # a stop text may have any number of tokens, so all of the answer is searched
            text = self._tokenizer.decode(output_id)
            if any(stop in text for stop in sampling.stop):
                return "stop"
        return "length" if len(output_id) >= sampling.max_new_tokens else None

    def text_of(self, output_id: list[int], stop: Sequence[str] = (), is_whole: bool = True) -> str:
        """An answer's text, without its end and surrounding white space.

        Args:
            is_whole: False: more tokens follow, and what may be the beginning of an end, or half a character, is left
                out. So an answer's texts only ever grow, up to the text of the whole.
        """
        ends = [*stop, *([] if self.text is None else [self.text])]
        text = self._tokenizer.decode(output_id)
        text = text[: min((text.find(end) for end in ends if end in text), default=len(text))]
        if not is_whole:
            text = text.rstrip("\N{REPLACEMENT CHARACTER}")
            text = text[: len(text) - max((_begun(end, text) for end in ends), default=0)]
        return text.strip()


def _begun(end: str, text: str) -> int:
    """How many characters at the end of `text` are the beginning of `end`."""
    return next((count for count in range(min(len(end) - 1, len(text)), 0, -1) if text.endswith(end[:count])), 0)


class Token(NamedTuple):
    """One step of one row. `prob` is the model's own probability (temperature 1, whole vocabulary).

    `finish_reason` is None until the row's last token.
    """

    row: Hashable
    id: int
    prob: float
    finish_reason: FinishReason | None

    @property
    def is_last(self) -> bool:
        return self.finish_reason is not None


@dataclass
class _Rows:
    """Rows in work, all at the same step: `hidden` waits for its token, or `chosen` waits to be fed."""

    keys: list[Hashable]
    prompts: list[Fused]
    samplings: list[Sampling]
    outputs: list[list[int]]
    cache: DynamicCache
    mask: torch.Tensor  # [b, T], 1 = visible; T is the length of the cache
    positions: torch.Tensor  # [b, 1], of the last place
    hidden: torch.Tensor | None  # [b, D], of the last place
    chosen: torch.Tensor | None = None  # [b]


class Decoder:
    """A batch of answers in work, which rows join and leave at any step.

    Args:
        read: what this model has made of texts that prompts begin with. Decoders that share it read each of them once.
    """

    def __init__(self, model: DepictQA, read: Read | None = None):
        self.model = model
        self._llama = model.llm.get_base_model()
        self._ends = Ends(model.tokenizer, model.format.sep2)
        self._rows: _Rows | None = None
        self._ended: set[Hashable] = set()  # rows that had their last token in the last step, and are still here
        self._read_before: Read = {} if read is None else read

    def __len__(self) -> int:
        return 0 if self._rows is None else len(self._rows.keys) - len(self._ended)

    @torch.inference_mode()
    def prefill(self, prompts: Mapping[Hashable, tuple[Fused, Sampling]]) -> _Rows:
        """Read the prompts of new rows, which can then `join`. Those in work are not touched, whatever happens here.

        What prompts have in common is read once: the text before the first image, which is the same for all questions
        of a task, and images that several begin with, as the reference and Image A of a vote's pairs. A row that had its
        last token in the last step may be asked again under the same key: only what is new is read.
        """
        again = {key: prompts[key] for key in prompts if key in self._ended}
        parts = [self._read_on(again)] if again else []
        prompts = {key: prompt for key, prompt in prompts.items() if key not in again}
        worth = sharing.worth_reading_first([fused for fused, _ in prompts.values()])
        groups: dict[
            tuple[Beginning, ...], dict[Hashable, int]
        ] = {}  # read first, short to long -> tokens that are left
        for key, (fused, _) in prompts.items():
            text, *longer = sharing.beginnings(fused)
            first = (text, *(beginning for beginning in longer if beginning in worth))
            groups.setdefault(first, {})[key] = sum(map(len, fused.segments[len(first[-1]) :]))
        pasts = {(): [], **self._read_before}
        passes = [(first, keys) for first, lengths in groups.items() for keys in sharing.passes(lengths)]
        return _merge(*parts, *(self._read(prompts, keys, first, pasts) for first, keys in passes))

    @torch.inference_mode()
    def join(self, new: _Rows) -> None:
        """Take prefilled rows into the batch."""
        self._feed()
        old, self._rows = self._rows, None  # a failure half-way leaves nothing half-merged behind
        self._rows = new if old is None else _merge(old, new)

    def _read(
        self, prompts: Mapping, keys: list[Hashable], beginnings: tuple[Beginning, ...], pasts: dict[Beginning, Past]
    ) -> _Rows:
        """Rows of prompts that all have these beginnings; what is not in `pasts` yet is read and put there."""
        fused, samplings = map(list, zip(*(prompts[key] for key in keys), strict=True))
        known: Beginning = ()
        for beginning in beginnings:
            if beginning not in pasts:
                new = sharing.cut(fused[0], sharing.length_of(fused[0], known), sharing.length_of(fused[0], beginning))
                cache, *_ = self._forward([new], pasts[known])
                pasts[beginning] = [(layer.keys, layer.values) for layer in cache.layers]
            known = beginning
        self._read_before[beginnings[0]] = pasts[beginnings[0]]  # a text: few, and the same for all questions of a task
        rest = [sharing.cut(one, sharing.length_of(one, known)) for one in fused]
        return _Rows(list(keys), fused, samplings, [[] for _ in keys], *self._forward(rest, pasts[known]))

    def _read_on(self, prompts: Mapping[Hashable, tuple[Fused, Sampling]]) -> _Rows:
        """Rows of prompts that are the next ones to rows that are still here: what both begin with is known."""
        old = self._rows
        fused, samplings = map(list, zip(*prompts.values(), strict=True))
        rows = [old.keys.index(key) for key in prompts]
        shared = [sharing.shared_tokens(old.prompts[row], one) for row, one in zip(rows, fused, strict=True)]
        known = [min(count, len(one) - 1) for count, one in zip(shared, fused, strict=True)]  # the last is always read
        places = [
            old.mask[row].nonzero()[:count, 0] for row, count in zip(rows, known, strict=True)
        ]  # padding is anywhere

        def beginnings(states: torch.Tensor) -> torch.Tensor:  # [b, heads, T, d] -> [rows, heads, most known, d]
            return torch.cat(
                [_pad(states[[row]][:, :, place], max(known)) for row, place in zip(rows, places, strict=True)]
            )

        past = [(beginnings(layer.keys), beginnings(layer.values)) for layer in old.cache.layers]
        visible = torch.arange(max(known), device=old.mask.device) >= max(known) - torch.tensor(known)[:, None].to(
            old.mask
        )
        rest = [sharing.cut(one, count) for one, count in zip(fused, known, strict=True)]
        return _Rows(list(prompts), fused, samplings, [[] for _ in rows], *self._forward(rest, past, visible))

    def _forward(self, fused: Sequence[Fused], past: Past, visible: torch.Tensor | None = None):
        """What follows `past` in each of b sequences: (cache, mask [b, T], last positions [b, 1], last hidden states [b, D]).

        Args:
            past: one for all sequences, or one each.
            visible: [b, past], False where a sequence's past is padding; None: it is nowhere.
        """
        batch = collate(fused, self.model.embed_tokens, padding_side="left")
        cache = DynamicCache(config=self._llama.config)
        for index, (k, v) in enumerate(past):
            cache.update(k.expand(len(fused), -1, -1, -1), v.expand(len(fused), -1, -1, -1), index)
        if visible is None:
            visible = batch.attention_mask.new_ones(len(fused), past[0][0].shape[2] if past else 0)
        mask = torch.cat([visible.to(batch.attention_mask), batch.attention_mask], dim=1)
        positions = batch.position_ids + visible.sum(1, keepdim=True)
        hidden = self._llama.model(
            inputs_embeds=batch.inputs_embeds,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state[:, -1]
        return cache, mask, positions[:, -1:], hidden

    @torch.inference_mode()
    def step(self) -> list[Token]:
        """One token for every row. Rows whose token is the last leave the batch, at the latest with the next step."""
        self._feed()
        if (rows := self._rows) is None:
            return []
        logits = self._llama.lm_head(rows.hidden).float()  # [b, V]
        rows.chosen, rows.hidden = _choose(logits, rows.samplings, list(map(len, rows.outputs))), None
        probs = logits.softmax(-1).gather(1, rows.chosen[:, None])[:, 0].tolist()
        tokens = []
        for key, sampling, output, token, prob in zip(
            rows.keys, rows.samplings, rows.outputs, rows.chosen.tolist(), probs, strict=True
        ):
            output.append(token)
            tokens.append(Token(key, token, prob, self._ends.finish_reason(output, sampling)))
        self._ended = {token.row for token in tokens if token.is_last}
        return tokens

    @torch.inference_mode()
    def drop(self, keys: Collection[Hashable]) -> None:
        """Take rows out of the batch; keys that are not in it do no harm."""
        rows = self._rows
        if rows is None or not any(key in keys for key in rows.keys):
            return
        self._ended.difference_update(keys)
        kept = [index for index, key in enumerate(rows.keys) if key not in keys]
        if not kept:
            self._rows = None
            return
        index = torch.tensor(kept, device=rows.mask.device)
        rows.cache.batch_select_indices(index)
        rows.keys, rows.prompts, rows.samplings, rows.outputs = (
            [values[i] for i in kept] for values in (rows.keys, rows.prompts, rows.samplings, rows.outputs)
        )
        rows.mask, rows.positions = rows.mask[index], rows.positions[index]
        rows.hidden, rows.chosen = (None if value is None else value[index] for value in (rows.hidden, rows.chosen))
        unused = int(rows.mask.any(0).int().argmax())  # columns that only longer rows needed
        if unused:
            rows.mask = rows.mask[:, unused:]
            for layer in rows.cache.layers:
                layer.keys, layer.values = layer.keys[:, :, unused:], layer.values[:, :, unused:]

    def _feed(self) -> None:
        """The hidden state after the last token of every row that goes on."""
        self.drop(set(self._ended))
        rows = self._rows
        if rows is None or rows.chosen is None:
            return
        rows.mask = torch.cat([rows.mask, rows.mask.new_ones(len(rows.mask), 1)], dim=1)  # [b, T + 1]
        rows.positions = rows.positions + 1
        rows.hidden = self._llama.model(
            inputs_embeds=self.model.embed_tokens(rows.chosen)[:, None],  # [b, 1, D]
            attention_mask=rows.mask,
            position_ids=rows.positions,
            past_key_values=rows.cache,
            use_cache=True,
        ).last_hidden_state[:, -1]  # [b, D]
        rows.chosen = None


def _merge(*parts: _Rows) -> _Rows:
    """One batch of several; none waits for a token to be fed. Shorter ones are padded on the left."""
    if len(parts) == 1:
        return parts[0]
    length = max(rows.mask.shape[1] for rows in parts)
    cache = parts[0].cache
    for layer, *others in zip(*(rows.cache.layers for rows in parts), strict=True):
        layer.keys = torch.cat([_pad(one.keys, length) for one in (layer, *others)])  # [b, heads, T, d]
        layer.values = torch.cat([_pad(one.values, length) for one in (layer, *others)])
    return _Rows(
        keys=[key for rows in parts for key in rows.keys],
        prompts=[prompt for rows in parts for prompt in rows.prompts],
        samplings=[sampling for rows in parts for sampling in rows.samplings],
        outputs=[output for rows in parts for output in rows.outputs],
        cache=cache,
        mask=torch.cat([nn.functional.pad(rows.mask, (length - rows.mask.shape[1], 0)) for rows in parts]),
        positions=torch.cat([rows.positions for rows in parts]),
        hidden=torch.cat([rows.hidden for rows in parts]),
    )


def _pad(values: torch.Tensor, length: int) -> torch.Tensor:
    """Keys or values [b, heads, T, d] with T filled up to `length` on the left."""
    return nn.functional.pad(values, (0, 0, length - values.shape[2], 0))


def _choose(logits: torch.Tensor, samplings: Sequence[Sampling], steps: Sequence[int]) -> torch.Tensor:
    """One token id per row of logits [b, V].

    A draw is the winner of an exponential race, with one random number for every id of the vocabulary, made from the row's
    seed and step. Logits that differ by rounding, as those of another batch do, give another token only where two are as
    good as tied; inverting a cumulative distribution, or a generator that rows share, would carry the difference on.

    Args:
        steps: how many tokens each row has already.
    """
    chosen = logits.argmax(-1)
    for row, (sampling, step) in enumerate(zip(samplings, steps, strict=True)):
        if sampling.temperature <= 0:
            continue
        scaled = (logits[row] - logits[row].max()) / sampling.temperature  # at most 0: no temperature is too small
        probabilities = scaled.softmax(-1).cpu()  # [V]
        descending, ids = probabilities.sort(descending=True, stable=True)
        outside = descending.cumsum(0) - descending > sampling.top_p  # the token that crosses top_p stays in
        probabilities[ids[outside]] = 0
        rng = np.random.default_rng(None if sampling.seed is None else [sampling.seed % 2**64, step])
        waits = -torch.from_numpy(rng.random(len(probabilities))).log()  # [V], exponential, never 0
        chosen[row] = (probabilities / waits).argmax()
    return chosen


def generate(
    model: DepictQA,
    prompts: Sequence[Fused],
    sampling: Sampling | Sequence[Sampling],
    read: Read | None = None,
    follow_up: Callable[[int, Answer], Fused | None] | None = None,
) -> list[Answer]:
    """Answers to B fused questions, in their order.

    Args:
        sampling: one for all rows, or one each.
        read: as of `Decoder`.
        follow_up: what a row is to be asked after its answer, if anything; that answer is its answer's `second`.
    """
    samplings = [sampling] * len(prompts) if isinstance(sampling, Sampling) else sampling
    decoder = Decoder(model, read)
    decoder.join(decoder.prefill(dict(enumerate(zip(prompts, samplings, strict=True)))))
    ends = Ends(model.tokenizer, model.format.sep2)
    answers = [Answer() for _ in prompts]
    in_work = dict(enumerate(answers))
    while step := decoder.step():
        again = {}
        for token in step:
            answer = in_work[token.row]
            answer.output_id.append(token.id)
            answer.prob.append(token.prob)
            if not token.is_last:
                continue
            answer.finish_reason = token.finish_reason
            is_first = answer is answers[token.row]
            answer.text = ends.text_of(answer.output_id, samplings[token.row].stop if is_first else ())
            fused = follow_up(token.row, answer) if follow_up and is_first else None
            if fused is not None:
                again[token.row] = (fused, samplings[token.row].of_follow_up)
                in_work[token.row] = answer.second = Answer()
        if again:
            decoder.join(decoder.prefill(again))
    return answers
