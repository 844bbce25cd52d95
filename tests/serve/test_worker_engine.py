"""The engine of a worker: all requests in one batch, each with the answer and the confidence that it has alone."""

import queue
import threading
from dataclasses import replace

import pytest

from depictqa.inference.assessor import Assessor
from depictqa.inference.sampling import Sampling
from depictqa.inference.session import Session
from depictqa.serve.protocol import Chunk, Refused
from depictqa.serve.worker_engine import Engine, EngineRequest
from inference.questions import GREEDY, SameMeaning, mixed_questions
from processes import GIVE_UP_SECONDS, until


class Client:
    """Hands a job in, and waits for the end of its answer."""

    def __init__(self, engine: Engine, question, confidence: bool = True, sampling: Sampling = GREEDY):
        self.chunks: queue.Queue[Chunk] = queue.Queue()
        self.request = EngineRequest(question, sampling, confidence, self.chunks.put)
        engine.submit(self.request)

    def all(self) -> list[Chunk]:
        chunks = [self.chunks.get(timeout=60)]
        while not (chunks[-1].done or chunks[-1].error):
            chunks.append(self.chunks.get(timeout=60))
        return chunks

    def last(self) -> Chunk:
        while True:
            chunk = self.chunks.get(timeout=GIVE_UP_SECONDS)
            if chunk.done or chunk.error:
                return chunk


@pytest.fixture
def start(tiny_model):
    """`start(**options of Engine)` -> (engine, its assessor, questions)."""
    engines = []

    def start(slots=4, max_waiting=50, interval=1):
        model, preprocess = tiny_model()
        assessor = Assessor(model, SameMeaning())
        engines.append(Engine(assessor, slots, max_waiting, interval))
        return engines[-1], assessor, mixed_questions(preprocess)

    yield start
    for engine in engines:
        engine.close()


@pytest.mark.parametrize("slots", [1, 3, 8])
def test_every_request_gets_its_own_answer_and_confidence(start, slots):
    """Follow-ups, which some confidences need, share the batch with the answers of others."""
    engine, assessor, questions = start(slots)
    clients = [Client(engine, question, confidence=number % 3 > 0) for number, question in enumerate(questions * 3)]
    expected = assessor.assess(questions, GREEDY, confidence=True) * 3
    assert any(assessor.follow_up(question, own.answer) for question, own in zip(questions, expected))
    for number, (client, own) in enumerate(zip(clients, expected, strict=True)):
        chunk = client.last()
        assert (chunk.text, chunk.finish_reason) == (own.answer.text, own.answer.finish_reason)
        (prompt,) = assessor.fuse([client.request.question], assessor.embed([client.request.question]))
        assert (chunk.usage.prompt_tokens, chunk.usage.completion_tokens) == (len(prompt), len(own.answer.output_id))
        assert [prob for _, prob in chunk.tokens] == pytest.approx(own.answer.prob, abs=1e-4)
        wanted = own.confidence if number % 3 else None
        assert chunk.confidence == (None if wanted is None else pytest.approx(wanted, abs=1e-4))
    assert engine.answered == len(clients) and engine.running == engine.waiting == 0
    assert engine.largest_batch == slots
    until(lambda: not engine._session._cache.layers)  # an idle engine holds no memory of them
    answers = [own.answer for own in expected]
    answers += [own.answer.second for number, own in enumerate(expected) if number % 3 and own.answer.second]
    assert len(answers) > len(expected) and engine.generated == sum(len(answer.output_id) for answer in answers)


def test_the_answer_is_there_before_its_confidence(start):
    engine, assessor, questions = start()
    (own,) = assessor.assess([questions[4]], GREEDY, confidence=True)
    assert own.answer.second is not None
    texts = []
    client = Client(engine, questions[4])
    while not (chunk := client.chunks.get(timeout=GIVE_UP_SECONDS)).done:
        texts.append(chunk.text)
    assert texts[-1] == own.answer.text and chunk.confidence == pytest.approx(own.confidence, abs=1e-4)
    assert all(text in own.answer.text for text in texts)  # the follow-up's own words are nobody's answer


def test_the_reason_is_the_answers_own_not_its_follow_ups(start):
    engine, assessor, questions = start()
    whole = assessor.assess([questions[4]], GREEDY, confidence=True)[0].answer
    length = len(whole.second.output_id)
    assert len(whole.output_id) > length  # so that a limit cuts the first only
    limited = Sampling(max_new_tokens=length)
    (own,) = assessor.assess([questions[4]], limited, confidence=True)
    chunk = Client(engine, questions[4], sampling=limited).last()
    assert own.answer.second.finish_reason == "stop" and chunk.confidence == pytest.approx(own.confidence, abs=1e-4)
    assert chunk.finish_reason == own.answer.finish_reason == "length"


def test_nothing_of_a_stop_text_is_sent(start):
    engine, assessor, questions = start()
    whole = assessor.assess([questions[2]], GREEDY)[0].answer.text
    stop = whole[3:9]
    chunks = Client(engine, questions[2], sampling=replace(GREEDY, stop=(stop,))).all()
    assert chunks[-1].text == whole.split(stop)[0].strip() and chunks[-1].finish_reason == "stop"
    assert all(chunks[-1].text.startswith(chunk.text) for chunk in chunks)


def test_a_seed_gives_the_same_draws_in_any_company(start):
    engine, assessor, questions = start(slots=3)
    hot = Sampling(temperature=1.2, max_new_tokens=12, seed=5)
    clients = [Client(engine, question, sampling=replace(hot, seed=seed)) for seed in (5, 6) for question in questions]
    alone = [assessor.assess([question], hot)[0].answer.text for question in questions]
    texts = [client.last().text for client in clients]
    assert texts[: len(alone)] == alone and texts[len(alone) :] != alone


def hold(monkeypatch) -> threading.Event:
    """Every token from now on waits for this event."""
    going = threading.Event()

    def step(session, real=Session.step):
        going.wait(GIVE_UP_SECONDS)
        return real(session)

    monkeypatch.setattr(Session, "step", step)
    return going


def test_who_left_costs_at_most_one_token_more(start, monkeypatch):
    engine, _, questions = start(slots=2)
    going = hold(monkeypatch)
    clients = [Client(engine, question) for question in questions[:4]]  # two in work, two waiting
    until(lambda: engine.running == 2 and engine.waiting == 2)
    for client in clients:
        engine.leave(client.request)
        engine.leave(client.request)  # harmless
    assert engine.waiting == 0
    going.set()
    until(lambda: not engine.running)
    assert engine.generated <= 2 and engine.answered == 0
    assert Client(engine, questions[0]).last().done


def test_there_is_no_more_room_than_was_said(start, monkeypatch):
    engine, _, questions = start(slots=1, max_waiting=2)
    engine.check_room(coming=2)
    with pytest.raises(Refused, match="2 questions are waiting"):
        engine.check_room(coming=3)  # one to work, two to wait, no room for this one
    going = hold(monkeypatch)
    clients = [Client(engine, questions[0])]
    until(lambda: engine.running == 1)
    clients += [Client(engine, question) for question in questions[1:3]]
    with pytest.raises(Refused, match="2 questions are waiting"):
        Client(engine, questions[3])
    going.set()
    assert all(client.last().done for client in clients)


@pytest.mark.parametrize("part", ["join", "step", "follow_up"])
def test_a_failure_ends_what_it_hit_and_nothing_else(start, monkeypatch, part):
    """Reading a prompt hits those that were read; a step, all of the batch; a follow-up's, its own."""
    engine, assessor, questions = start()
    real, failing = getattr(Session, part), threading.Event()

    def broken(session, *args):
        if failing.is_set():
            raise RuntimeError("a kernel failed")
        return real(session, *args)

    monkeypatch.setattr(Session, part, broken)
    assert Client(engine, questions[0]).last().done
    failing.set()
    chunk = Client(engine, questions[4]).last()
    assert chunk.error.code == "generation_failed" and "kernel" not in chunk.error.message
    failing.clear()
    assert Client(engine, questions[4]).last().done and engine.running == 0


def test_closing_tells_those_in_work_and_those_who_wait(start, monkeypatch):
    engine, _, questions = start(slots=1)
    going = hold(monkeypatch)
    clients = [Client(engine, question) for question in questions[:3]]
    until(lambda: engine.running == 1)
    closing = threading.Thread(target=engine.close)
    closing.start()
    until(lambda: engine._closed)
    going.set()
    closing.join()
    assert [client.last().error.code for client in clients] == ["stopping"] * 3
    with pytest.raises(Refused, match="stopping"):
        Client(engine, questions[0])
