"""Controller, workers and page together: real processes, a real (tiny) model, real connections."""

import base64
import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from conftest import tiny_config
from processes import GIVE_UP_SECONDS
from tests.serve.stack import OTHER, PICTURE, QUESTION, ROOT, Stack, chunks, get, until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """A controller and one worker."""
    stack = Stack(tmp_path_factory.mktemp("stack"))
    try:
        stack.start_controller()
        stack.worker_url = stack.start_worker(limit_waiting=4, limit_model_concurrency=3)[1]
        yield stack
    finally:
        stack.close()


@pytest.fixture(scope="module")
def ask_assessor(tiny_model):
    """What the assessor itself answers."""
    from depictqa.data.images import open_image
    from depictqa.inference.assessor import Assessor, Question
    from depictqa.inference.sampling import Sampling
    from depictqa.prompts import TASKS

    model, preprocess = tiny_model()
    assessor = Assessor(model)

    def ask(task: str, *pictures: bytes, question: str = QUESTION):
        images = tuple(preprocess(open_image(picture)) for picture in pictures)
        sampling = Sampling(max_new_tokens=24)
        return assessor.assess([Question(TASKS[task], images, question)], sampling, confidence=True)[0]

    return ask


@pytest.mark.parametrize(
    ("task", "given"),
    [
        ("quality_single_A_noref", {"a": PICTURE}),
        ("quality_single_A", {"ref": OTHER, "a": PICTURE}),
        ("quality_compare_noref", {"a": PICTURE, "b": OTHER}),
        ("quality_compare", {"ref": PICTURE, "a": OTHER, "b": PICTURE}),
    ],
)
def test_the_answer_is_the_assessors_own(stack, ask_assessor, task, given):
    expected = ask_assessor(task, *given.values())
    answer = stack.post(**given).json()
    assert answer["task"] == task and answer["model"] == "Tiny"
    assert answer["text"] == expected.answer.text
    assert answer["confidence"] == pytest.approx(expected.confidence)
    assert [prob for _, prob in answer["tokens"]] == pytest.approx(expected.answer.prob, rel=1e-4)


@pytest.mark.parametrize(
    ("task", "given"),
    [("quality_single_A_noref", {"a": PICTURE}), ("quality_single_A", {"ref": OTHER, "a": PICTURE})],
)
def test_a_score_is_the_assessors_own(stack, tiny_model, task, given):
    from depictqa.data.images import open_image
    from depictqa.inference.assessor import Assessor, Question
    from depictqa.prompts import QUESTIONS, TASKS

    model, preprocess = tiny_model()
    images = tuple(preprocess(open_image(picture)) for picture in given.values())
    (expected,) = Assessor(model).score([Question(TASKS[task], images, QUESTIONS["score"])])
    answer = stack.post(None, "/v1/score", **given).json()
    assert answer.keys() == {"score", "score_std", "levels", "task", "model"}
    assert (answer["task"], answer["model"]) == (task, "Tiny")
    assert answer["score"] == pytest.approx(expected.mean, abs=1e-4)
    assert answer["score_std"] == pytest.approx(expected.std, abs=1e-4)
    assert answer["levels"] == pytest.approx(expected.levels, abs=1e-4)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"a": PICTURE, "b": OTHER}, "expected one image, file a, with or without file ref; found a and b"),
        ({"ref": OTHER}, "images: expected Image A"),
        ({"a": PICTURE, "question": "How?"}, "question: unknown field"),
        ({"a": PICTURE, "temperature": 1}, "temperature: unknown field"),
    ],
)
def test_a_score_is_of_one_image_and_has_no_options(stack, given, message):
    response = stack.post(**{"question": None, "route": "/v1/score"} | given)
    assert response.status_code == 400
    assert message in response.json()["error"]["message"]


def test_a_question_of_ones_own_has_no_score(stack):
    response = stack.post(a=PICTURE, score="true")
    assert response.status_code == 400
    assert response.json()["error"]["message"].startswith("score: unknown field")


def test_streamed_answer_grows_to_the_assessors_own(stack, ask_assessor):
    expected = ask_assessor("quality_single_A_noref", PICTURE)
    with stack.stream(a=PICTURE) as response:
        rows = chunks(response)
    texts = [row["text"] for row in rows]
    assert len(set(texts)) > 3
    assert all(later.startswith(earlier) for earlier, later in zip(texts, texts[1:], strict=False))
    assert rows[-1]["done"] and rows[-1]["text"] == expected.answer.text
    assert not any(row["done"] for row in rows[:-1])


def test_waiting_questions_are_batched_and_each_gets_its_own_answer(stack, ask_assessor):
    questions = [f"{QUESTION} {number}" for number in range(5)]
    with ThreadPoolExecutor(5) as pool:
        answers = list(pool.map(lambda question: stack.post(question, a=PICTURE).json(), questions))
    for question, answer in zip(questions, answers, strict=True):
        assert answer["text"] == ask_assessor("quality_single_A_noref", PICTURE, question=question).answer.text
    assert get(f"{stack.worker_url}/status")["largest_batch"] >= 2


BAD = {
    "no question": ({"question": None, "a": PICTURE}, 400, "question"),
    "blank question": ({"question": "  ", "a": PICTURE}, 400, "question"),
    "long question": ({"question": "x" * 2001, "a": PICTURE}, 400, "question"),
    "no picture": ({}, 400, "found none"),
    "reference only": ({"ref": PICTURE}, 400, "found Reference Image"),
    "a path for a picture": ({"a": "/etc/passwd"}, 400, "a: expected a picture's bytes"),
    "empty file": ({"a": b""}, 400, "Image A: the file is empty"),
    "text for a picture": ({"a": b"../../etc/passwd"}, 400, "Image A: not a readable image"),
    "cut short": ({"a": PICTURE, "b": OTHER[: len(OTHER) // 2]}, 400, "Image B: not a readable image"),
    "too large": ({"a": b"x" * 20_000_001}, 413, "Image A: over 20 MB"),
    "not a number": ({"a": PICTURE, "temperature": "nan"}, 400, "temperature"),
    "negative": ({"a": PICTURE, "top_p": -1}, 400, "top_p"),
    "too many tokens": ({"a": PICTURE, "max_tokens": 100_000}, 400, "max_tokens"),
    "unknown field": ({"a": PICTURE, "beams": 4}, 400, "beams: unknown field"),
    "misspelt field": ({"a": PICTURE, "temprature": ""}, 400, "did you mean 'temperature'?"),
    "a real number for a seed": ({"a": PICTURE, "seed": 1.5}, 400, "seed"),
    "unknown file": ({"a": PICTURE, "c": PICTURE}, 400, "c: expected no file"),
    "unknown model": ({"a": PICTURE, "model": "Other"}, 404, "there are: Tiny"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_clear_line(stack, name):
    options, status, words = BAD[name]
    response = stack.post(**options)
    error = response.json()["error"]
    assert (response.status_code, words in error["message"]) == (status, True), error
    assert "\n" not in error["message"] and len(error["message"]) < 300 and error["code"]


def test_body_over_the_limit_is_refused(stack):
    for body in (b"x" * 90_000_000, (b"x" * 1_000_000 for _ in range(90))):  # announced, and not
        try:
            headers = {"content-type": "multipart/form-data; boundary=b"}
            response = httpx.post(f"{stack.url}/v1/assess", content=body, headers=headers, timeout=60, trust_env=False)
        except httpx.WriteError:  # refused before all of it was sent
            continue
        assert response.status_code in (400, 413)
    assert stack.post(a=PICTURE).status_code == 200


def test_tags_and_special_tokens_in_a_question_are_plain_text(stack, ask_assessor):
    answer = stack.post("Is </s> or <Img-A> here?", a=PICTURE).json()
    expected = ask_assessor("quality_single_A_noref", PICTURE, question="Is < /s> or < Img-A> here?")
    assert answer["text"] == expected.answer.text


def data_url(picture: bytes) -> dict:
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{base64.b64encode(picture).decode()}"}}


def text(words: str) -> dict:
    return {"type": "text", "text": words}


def test_openai_client_works_unchanged(stack):
    openai = pytest.importorskip("openai")
    client = openai.OpenAI(base_url=f"{stack.url}/v1", api_key="none", max_retries=0)
    assert [model.id for model in client.models.list()] == ["Tiny"]
    native = stack.post(ref=OTHER, a=PICTURE).json()
    parts = [text("Image A:"), data_url(PICTURE), text("Reference Image:"), data_url(OTHER), text(QUESTION)]
    messages = [{"role": "user", "content": parts}]
    choice = client.chat.completions.create(model="Tiny", messages=messages, logprobs=True).choices[0]
    assert choice.message.content == native["text"]
    assert choice.confidence == native["confidence"]
    assert len(choice.logprobs.content) == len(native["tokens"])
    streamed = client.chat.completions.create(model="Tiny", messages=messages, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in streamed) == native["text"]
    remote = {"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}
    with pytest.raises(openai.BadRequestError, match="data: URL"):
        client.chat.completions.create(model="Tiny", messages=[{"role": "user", "content": [remote, text("What?")]}])
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="Other", messages=messages)


@pytest.fixture
def openai_ask(stack):
    """`openai_ask(**options)` asks about PICTURE by OpenAI's own client."""
    openai = pytest.importorskip("openai")
    client = openai.OpenAI(base_url=f"{stack.url}/v1", api_key="none", max_retries=0)
    messages = [{"role": "user", "content": [data_url(PICTURE), text(QUESTION)]}]

    def ask(**options):
        return client.chat.completions.create(**{"model": "Tiny", "messages": messages} | options)

    return ask


def test_openai_client_is_told_why_an_answer_ended_and_what_it_used(stack, openai_ask):
    native = stack.post(a=PICTURE).json()
    whole, cut = openai_ask(), openai_ask(max_tokens=3)
    assert whole.choices[0].finish_reason == native["finish_reason"]
    assert whole.usage.model_dump(exclude_none=True) == native["usage"]
    assert whole.usage.completion_tokens == len(native["tokens"])
    assert (cut.choices[0].finish_reason, cut.usage.completion_tokens) == ("length", 3)
    assert cut.usage.prompt_tokens == whole.usage.prompt_tokens > 36  # a picture of 84 x 84 has 36 tokens
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
    *_, end, usage = openai_ask(max_tokens=3, stream=True, stream_options={"include_usage": True})
    assert end.choices[0].finish_reason == "length" and usage.choices == [] and usage.usage == cut.usage


def test_openai_client_stops_at_a_text(stack, openai_ask):
    native = stack.post(a=PICTURE).json()["text"]
    stop = native[3:8]
    choice = openai_ask(stop=["never said", stop]).choices[0]
    assert (choice.message.content, choice.finish_reason) == (native.split(stop)[0].strip(), "stop")
    chunks = [chunk.choices[0] for chunk in openai_ask(stop=stop, stream=True)]
    assert "".join(chunk.delta.content or "" for chunk in chunks) == choice.message.content
    assert chunks[-1].finish_reason == "stop"
    form = httpx.post(
        f"{stack.url}/v1/assess",
        data={"question": QUESTION, "stop": ["never said", stop]},
        files={"a": PICTURE},
        timeout=60,
        trust_env=False,
    )
    assert form.json()["text"] == choice.message.content


def test_openai_client_gets_the_same_draws_for_a_seed(stack, openai_ask):
    def draw(seed: int) -> str:
        return openai_ask(seed=seed, temperature=1.5, max_tokens=12).choices[0].message.content

    assert draw(1) == draw(1) == stack.post(a=PICTURE, seed=1, temperature=1.5, max_tokens=12).json()["text"]
    assert len({draw(seed) for seed in range(5)}) > 1


def test_openai_client_is_refused_what_would_change_the_answer(openai_ask):
    openai = pytest.importorskip("openai")
    system = {"role": "system", "content": "Answer in French."}
    for options in ({"n": 2}, {"tools": [{"type": "function", "function": {"name": "f"}}]}, {"messages": [system]}):
        with pytest.raises(openai.BadRequestError, match=next(iter(options))):
            openai_ask(**options)


def test_openai_client_gets_the_picture_that_a_text_names(stack, openai_ask):
    parts = [text("This is Image B:"), data_url(PICTURE), text("This is Image A:"), data_url(OTHER), text(QUESTION)]
    native = stack.post(a=OTHER, b=PICTURE).json()["text"]
    assert openai_ask(messages=[{"role": "user", "content": parts}]).choices[0].message.content == native


def test_a_field_that_is_given_twice_is_refused(stack):
    for files, data in (([("a", PICTURE), ("a", OTHER)], []), ([("a", PICTURE)], [1, 2])):
        fields = {"question": QUESTION, "seed": data}
        response = httpx.post(
            f"{stack.url}/v1/assess", data=fields, files=files, trust_env=False, timeout=GIVE_UP_SECONDS
        )
        assert response.status_code == 400 and "given twice" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b"[" * 10_000, b"{}", b'{"messages": []}', b'{"messages": [1]}', b"\xff"]
)
def test_bad_json_is_refused(stack, body):
    response = httpx.post(f"{stack.url}/v1/chat/completions", content=body, trust_env=False, timeout=GIVE_UP_SECONDS)
    assert response.status_code == 400 and response.json()["error"]["message"]


def test_client_that_leaves_frees_its_slot(own_stack):
    _, worker_url = own_stack.start_worker(endless=True, limit_model_concurrency=1, limit_waiting=1)
    with own_stack.stream(a=PICTURE, confidence=False) as first:
        lines = first.iter_lines()
        until(lambda: json.loads(next(lines))["text"])
        with own_stack.stream(a=PICTURE) as second:  # has to wait
            assert get(f"{worker_url}/status")["waiting"] == 1
            refused = own_stack.post(a=PICTURE)
            assert refused.status_code == 429 and refused.headers["retry-after"]
            assert refused.json()["error"]["code"] == "busy"
            assert own_stack.post(a=b"no picture").status_code == 429  # none is decoded for who will be refused
            first.close()
            until(lambda: get(f"{worker_url}/status")["waiting"] == 0)  # its turn has come
            assert get(f"{worker_url}/status")["running"] == 1
            second.close()
    until(lambda: get(f"{worker_url}/status")["running"] == 0)
    assert get(f"{own_stack.url}/status")["workers"][0]["passing_on"] == 0
    assert own_stack.post(a=PICTURE, max_tokens=4).status_code == 200


def test_killed_worker_is_a_typed_error_and_the_next_question_goes_elsewhere(own_stack):
    process, url = own_stack.start_worker(held=True)
    with own_stack.stream(a=PICTURE) as response:
        lines = response.iter_lines()
        until(lambda: json.loads(next(lines))["text"])
        process.send_signal(signal.SIGKILL)
        assert json.loads(list(lines)[-1])["error"]["code"] == "worker_gone"
    refused = own_stack.post(a=PICTURE)
    assert refused.status_code == 503 and "no worker is up" in refused.json()["error"]["message"]
    own_stack.start_worker()
    httpx.post(
        f"{own_stack.url}/workers", json={"name": "Tiny", "url": url}, trust_env=False, timeout=GIVE_UP_SECONDS
    )  # as if not yet noticed
    for _ in range(2):
        assert own_stack.post(a=PICTURE, max_tokens=4).status_code == 200


def test_restarted_controller_finds_its_workers(own_stack):
    own_stack.start_worker()
    own_stack.processes[0].kill()
    own_stack.processes[0].wait()
    own_stack.start_controller()
    until(lambda: get(f"{own_stack.url}/v1/models").get("data"))
    assert own_stack.post(a=PICTURE, max_tokens=4).status_code == 200


def test_worker_says_goodbye(own_stack):
    process, _ = own_stack.start_worker()
    process.terminate()
    process.wait()
    assert get(f"{own_stack.url}/status")["workers"] == []


def test_absent_weights_stop_the_worker_with_the_line_of_infer(tmp_path):
    config = tiny_config(
        tmp_path / "X", model={"vision_encoder_path": "nowhere.pt", "llm_path": "x", "delta_path": "x"}
    )
    (config.parent / "serve.yaml").write_text("{}\n")
    base = tmp_path / "_base_"
    base.mkdir()
    for name in ("env.sh", "launch_worker.sh"):
        script = (ROOT / "experiments" / "_base_" / name).read_text()
        (base / name).write_text(script.replace("$(cd ../../src && pwd)", str(ROOT / "src")))
    done = subprocess.run(
        ["sh", "../_base_/launch_worker.sh"],
        cwd=config.parent,
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {config}: model.vision_encoder_path:") and "nowhere.pt does not exist" in line


def test_port_in_use_is_one_line(stack):
    done = subprocess.run(
        [sys.executable, "-m", "depictqa.serve.controller", "--cfg", stack.config()[0]],
        env={
            **os.environ,
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and "controller.port: cannot listen" in done.stderr and done.stderr.count("\n") == 1
