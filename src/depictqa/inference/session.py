"""Questions in work, which join and leave at any step: the one loop behind all ways of asking.

    session = Session(model)
    session.join({"a": (prompt, Sampling()), "b": (another, Sampling())})
    while rows := session.step():  # one token more for each row
        ...

Knows nothing of files, tasks or confidences. Nothing is read twice: neither what prompts have in common, nor what a
follow-up question has in common with the first. An answer does not depend on what else is in the batch.
"""

from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from depictqa.inference import sharing
from depictqa.inference.cache import KVCache, Pass
from depictqa.inference.sampling import Completion, Sampling, StopCriteria, choose
from depictqa.inference.sharing import Prefix
from depictqa.model.depictqa import DepictQA
from depictqa.model.fusion import Fused, collate

PrefixCache = dict[Prefix, KVCache]  # texts that prompts begin with, read; one row each


@dataclass(eq=False)
class Row:
    """A question in work: its answer grows by a token a step; when it has ended, a follow-up is asked, or the row leaves.

    Attributes:
        key: what the caller calls it.
        prompt: the question, or its follow-up.
        sampling: of the answer in work.
        answer: to the first question; the follow-up's is its `second`.
        place: row of the cache.
        length: tokens in the cache.
        hidden: [D], of the last token; None while there are tokens to read.
    """

    key: Any
    prompt: Fused
    sampling: Sampling
    place: int
    answer: Completion = field(default_factory=Completion)
    length: int = 0
    hidden: torch.Tensor | None = None

    @property
    def current(self) -> Completion:
        """The answer in work, or the one that ended last."""
        return self.answer.second or self.answer

    @property
    def has_ended(self) -> bool:
        return self.current.finish_reason is not None

    @property
    def has_unread_prompt(self) -> bool:
        return self.length < len(self.prompt)

    @property
    def unread(self) -> Fused:
        """What is to be read before the next token: the rest of the prompt, or the last token."""
        if self.has_unread_prompt:
            return sharing.cut(self.prompt, self.length)
        token = Fused()
        token.add_text(self.current.output_id[-1:])
        return token


class Session:
    """A batch of rows.

    An error out of `join` or `step` costs the rows that were in the failed pass through the model. The others are still
    there (`key in session`), and go on with the next step.

    Args:
        prefix_cache: sessions that share it read the text that a task's prompts begin with once.
    """

    def __init__(self, model: DepictQA, prefix_cache: PrefixCache | None = None):
        self.model = model
        self.stop_criteria = StopCriteria(model.tokenizer, model.format.sep2)
        self._llama: Any = model.llm.get_base_model()
        self._rows: list[Row] = []  # in the order of their places
        self._cache = KVCache()
        self._prefix_cache: PrefixCache = {} if prefix_cache is None else prefix_cache

    def __len__(self) -> int:
        """Rows whose answers have not ended."""
        return sum(not row.has_ended for row in self._rows)

    def __contains__(self, key: Hashable) -> bool:
        return any(row.key == key for row in self._rows)

    @torch.inference_mode()
    def join(self, prompts: Mapping[Hashable, tuple[Fused, Sampling]]) -> None:
        """Read the prompts of new rows, which get their first token with the next step.

        What prompts have in common is read once: the text before the first image, which is the same for all questions of
        a task, and images that several begin with, as the reference and Image A of a vote's pairs.
        """
        self._release()
        places = range(len(self._rows), len(self._rows) + len(prompts))
        new = [Row(key, *asked, place) for place, (key, asked) in zip(places, prompts.items(), strict=True)]
        self._read_shared_prefixes(new)
        self._read({row: row.unread for row in new})
        self._rows += new

    @torch.inference_mode()
    def step(self) -> list[Row]:
        """One token more for every row. Rows that ended before leave, unless a follow-up was asked."""
        self._release()
        parts = {row: row.unread for row in self._rows if row.hidden is None}
        self._read({row: part for row, part in parts.items() if row.has_unread_prompt})
        self._read({row: part for row, part in parts.items() if row.hidden is None})
        rows = list(self._rows)
        if not rows:
            return []
        with self._at_the_cost_of(rows):
            hidden = torch.stack([row.hidden for row in rows if row.hidden is not None])  # [b, D]
            logits = self._llama.lm_head(hidden).float()  # [b, V]
            chosen = choose(logits, [row.sampling for row in rows], [len(row.current.output_id) for row in rows])
            distribution = logits.softmax(-1)  # [b, V]
            for number, row in enumerate(rows):
                if row.sampling.watched and not row.current.output_id:
                    row.current.watched = distribution[number, list(row.sampling.watched)].tolist()
            probs = distribution.gather(1, chosen[:, None])[:, 0]  # [b]
            for row, token, prob in zip(rows, chosen.tolist(), probs.tolist(), strict=True):
                self._extend(row, token, prob)
        return rows

    @torch.inference_mode()
    def follow_up(self, key: Hashable, prompt: Fused) -> None:
        """Ask a row that ended in the last step a second question; the next step reads what is new in its prompt.

        Stop texts are about the first answer only.
        """
        row = next(row for row in self._rows if row.key == key)
        row.length = min(sharing.shared_tokens(row.prompt, prompt), len(prompt) - 1)  # the last token is always read
        row.prompt, row.sampling, row.answer.second = prompt, row.sampling.of_follow_up, Completion()

    @torch.inference_mode()
    def leave(self, keys: Collection[Hashable]) -> None:
        """Take rows out of the batch. Keys that are not in it do no harm."""
        leaving = [row for row in self._rows if row.key in keys]
        if len(leaving) == len(self._rows):
            self._rows, self._cache = [], KVCache()  # an idle session holds no memory
            return
        for row in leaving:  # the last row takes the place
            last = self._rows.pop()
            self._cache.move(last.place, row.place)
            if last is not row:
                self._rows[row.place] = last
                last.place = row.place

    def _release(self) -> None:
        self.leave([row.key for row in self._rows if row.has_ended])

    def _extend(self, row: Row, token: int, prob: float) -> None:
        answer, row.hidden = row.current, None
        answer.output_id.append(token)
        answer.prob.append(prob)
        answer.finish_reason = self.stop_criteria.finish_reason(answer.output_id, row.sampling)
        if answer.finish_reason is not None:
            answer.text = self.stop_criteria.text_of(answer.output_id, row.sampling.stop)

    def _read_shared_prefixes(self, rows: Sequence[Row]) -> None:
        """Read what several new rows begin with in one of them, and copy it to the others."""
        chosen = sharing.shared_prefixes([row.prompt for row in rows])
        for depth in range(max(map(len, chosen), default=0)):
            groups: dict[Prefix, list[Row]] = {}
            for row, prefixes in zip(rows, chosen, strict=True):
                if depth < len(prefixes):
                    groups.setdefault(prefixes[depth], []).append(row)
            lengths = {prefix: sharing.prefix_length(group[0].prompt, prefix) for prefix, group in groups.items()}
            first = {prefix: group[0] for prefix, group in groups.items() if prefix not in self._prefix_cache}
            self._read({row: sharing.cut(row.prompt, row.length, lengths[prefix]) for prefix, row in first.items()})
            for prefix, group in groups.items():
                source, place = self._prefix_cache.get(prefix, self._cache), 0
                if prefix in first:
                    source, place = self._cache, group[0].place
                    if depth == 0:  # a text: few, and the same for all questions of a task
                        self._prefix_cache[prefix] = self._cache.prefix(place, lengths[prefix])
                others = group[prefix in first :]
                if others:
                    longest = max(len(row.prompt) for row in others)
                    self._cache.copy(source, place, [row.place for row in others], lengths[prefix], longest)
                for row in others:
                    row.length = lengths[prefix]

    def _read(self, parts: Mapping[Row, Fused]) -> None:
        for rows in sharing.passes({row: len(part) for row, part in parts.items()}):
            with self._at_the_cost_of(rows):
                self._forward(rows, [parts[row] for row in rows])

    def _forward(self, rows: Sequence[Row], parts: Sequence[Fused]) -> None:
        """Read what comes next in some rows, in one pass."""
        batch = collate(parts, self.model.embed_tokens, padding_side="right")
        counts = list(map(len, parts))
        forward = Pass(
            self._cache,
            rows=[row.place for row in rows],
            starts=[row.length for row in rows],
            counts=counts,
            device=batch.inputs_embeds.device,
            window=getattr(self._llama.config, "sliding_window", None),
        )
        hidden = self._llama.model(
            inputs_embeds=batch.inputs_embeds,
            attention_mask=forward.mask,
            position_ids=forward.position_ids,
            past_key_values=forward,
            use_cache=True,
        ).last_hidden_state  # [b, T, D]
        last = hidden[range(len(rows)), [count - 1 for count in counts]]  # [b, D]
        for row, count, row.hidden in zip(rows, counts, last, strict=True):
            row.length += count

    @contextmanager
    def _at_the_cost_of(self, rows: Iterable[Row]) -> Iterator[None]:
        try:
            yield
        except Exception:
            self.leave([row.key for row in rows])
            raise
