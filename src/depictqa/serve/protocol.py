"""What controller, workers and page say to one another, and the limits of it.

A question travels as multipart/form-data: the fields of `Ask`, and pictures as files named as in PICTURES. An answer
travels as lines of JSON, each a `Chunk`; the last one has `done` or `error`. An error is
`{"error": {"message": ..., "code": ...}}` with its HTTP status, or a `Chunk` if the answer had begun.
"""

import difflib
import re
from collections.abc import Collection, Mapping
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, computed_field, field_validator
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from depictqa import prompts
from depictqa.errors import InputError
from depictqa.prompts import Task

MAX_QUESTION = 2000  # characters
MAX_TOKENS = 1024  # of an answer
MAX_STOPS, MAX_STOP = 4, 100  # stop texts, characters of each
MAX_SEED = 2**63 - 1
MAX_PICTURE_BYTES = 20_000_000
MAX_DECODING_BYTES = 245_000_000  # of memory for a picture: 30 million pixels of most kinds
MAX_BODY_BYTES = 4 * MAX_PICTURE_BYTES + 1_000_000  # three pictures, in base64
FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")  # the second: a form without pictures
PICTURES = {"ref": "image_ref", "a": "image_A", "b": "image_B"}  # name of the file in a request -> field of a task
NAMES = {name: prompts.LABELS[field] for name, field in PICTURES.items()}  # as people are told of them
_UNPRINTABLE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]"
)  # a name may hold anything; an error is one line of UTF-8
_CONTROL = re.compile(r"<(?=/?s>|unk>|/?Img|\|\w+\|>)")  # where an image's tag or a special token begins


class Refused(Exception):
    """A request that is not answered: HTTP status, a code for programs, one clear line for people."""

    def __init__(self, status: int, code: str, message: str):
        message = _UNPRINTABLE.sub("?", message)
        super().__init__(message)
        self.status, self.code, self.message = status, code, message

    @property
    def body(self) -> dict:
        kind = "invalid_request_error" if self.status < 500 else "server_error"  # `type`, `param`: OpenAI's form
        return {"error": {"message": self.message, "type": kind, "param": None, "code": self.code}}


class Ask(BaseModel):
    """A question, without its pictures. What is None is the worker's to choose."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    question: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_QUESTION)]
    model: Annotated[str, StringConstraints(max_length=100)] | None = None
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    max_tokens: int | None = Field(None, ge=1, le=MAX_TOKENS)
    stop: list[Annotated[str, StringConstraints(min_length=1, max_length=MAX_STOP)]] | None = Field(
        None, max_length=MAX_STOPS, description="texts that end the answer and are no part of it"
    )
    seed: int | None = Field(None, ge=-MAX_SEED - 1, le=MAX_SEED, description="the same seed gives the same draws")
    confidence: bool = True
    stream: bool = False
    score: bool | None = Field(None, description="score the image by the levels that its question asks for")

    @field_validator("stop", mode="before")
    @classmethod
    def as_list(cls, stop):
        return [stop] if isinstance(stop, str) else stop

    @property
    def plain_question(self) -> str:
        """The question with every tag and special token in it broken up: a user's text is never control."""
        return _CONTROL.sub("< ", self.question.replace("\0", ""))


class Problem(BaseModel):
    message: str
    code: str


class Usage(BaseModel):
    """Tokens of a question (its pictures' included) and of its answer (its end included), as OpenAI's form counts them.

    A question that is asked again for a confidence is not counted: nobody reads that answer.
    """

    prompt_tokens: int
    completion_tokens: int

    @computed_field
    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


class Scored(BaseModel):
    """An image's quality from 1 to 5, its standard deviation, and the probabilities of the levels."""

    score: float
    score_std: float
    levels: dict[str, float]


class Chunk(BaseModel):
    """An answer so far: `text` is all of it. The last one has `tokens` (text, probability) and all that follows them.

    `finish_reason`: "stop", or "length" where `max_tokens` cut the answer.
    """

    text: str = ""
    done: bool = False
    confidence: float | None = None
    tokens: list[tuple[str, float]] | None = None
    finish_reason: Literal["stop", "length"] | None = None
    usage: Usage | None = None
    scored: Scored | None = None
    error: Problem | None = None

    def line(self) -> str:
        return self.model_dump_json(exclude_none=True) + "\n"


class WorkerInfo(BaseModel):
    """A worker's registration, which it repeats as its heartbeat."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=100)]
    url: Annotated[str, StringConstraints(pattern=r"^https?://[^\s?#]+$", max_length=300)]
    slots: int = Field(1, ge=1)  # questions in work at a time
    load: int = Field(0, ge=0)  # questions in work and waiting

    @field_validator("url")
    @classmethod
    def is_an_address(cls, url: str) -> str:
        parts = urlsplit(url)
        if not parts.hostname or parts.port == 0:  # reading a port that is none raises ValueError
            raise ValueError("expected http://host:port")
        return url


def make_ask(fields: Mapping, strict: bool = False) -> Ask:
    """Check the fields of a question.

    Args:
        strict: a number is no text, a boolean no number: for JSON, which has types of its own.

    Raises:
        Refused: with what is wrong, in one line.
    """
    try:
        return Ask.model_validate(dict(fields), strict=strict)
    except ValidationError as error:
        raise Refused(400, "invalid_field", explain(error.errors())) from None


def check_names(given: Collection[str], known: Collection[str]) -> None:
    """Raises Refused for a name that is not known, with the nearest one that is."""
    for name in given:
        if name not in known:
            nearest = difflib.get_close_matches(name[:40], known, n=1, cutoff=0.6)
            hint = f"did you mean '{nearest[0]}'?" if nearest else "/docs of this server lists the known ones"
            raise Refused(400, "unknown_field", f"{name[:40]}: unknown field; {hint}")


def explain(errors) -> str:
    """pydantic's errors as one line, without the input, which may be large."""
    return "; ".join(f"{'.'.join(map(str, error['loc']))[:80] or 'body'}: {error['msg']}" for error in errors[:5])


def task_of(names) -> Task:
    """The task that follows from which pictures are given. Raises Refused for a set that no task takes."""
    try:
        return prompts.task_of([PICTURES[name] for name in names])
    except InputError as error:
        raise Refused(400, "wrong_pictures", str(error)) from None


async def read_ask(
    request: Request, known: Collection[str] = tuple(Ask.model_fields), **fixed
) -> tuple[Ask, dict[str, bytes]]:
    """The question and the pictures of a multipart request.

    Args:
        known: fields of `Ask` that the request may have.
        fixed: fields that the route decides.

    Raises:
        Refused: with what is wrong.
    """
    if not request.headers.get("content-type", "").lower().startswith(FORMS):
        raise Refused(
            415, "wrong_content_type", "expected multipart/form-data: question, and pictures as files ref, a, b"
        )
    fields: dict[str, str] = {}
    stop: list[str] = []  # the one that may be there several times
    pictures: dict[str, bytes] = {}
    try:
        async with request.form(max_files=len(PICTURES), max_fields=20, max_part_size=100_000) as form:
            for name, value in form.multi_items():
                if isinstance(value, UploadFile) != (name in PICTURES):
                    expected = "a picture's bytes as a file" if name in PICTURES else "no file; pictures are ref, a, b"
                    raise Refused(400, "invalid_field", f"{name[:40]}: expected {expected}")
                if name == "stop" and isinstance(value, str):
                    stop += [value] if value else []
                elif name in fields or name in pictures:
                    raise Refused(400, "invalid_field", f"{name[:40]}: given twice; expected one")
                elif not isinstance(value, UploadFile):
                    fields[name] = value
                elif value.filename or value.size:  # a browser sends an empty, nameless file for no choice
                    pictures[name] = await value.read()
    except HTTPException as error:
        raise Refused(400, "invalid_form", f"the form cannot be read ({error.detail})") from None
    check_pictures(pictures)
    given = fields | ({"stop": stop} if stop else {})
    check_names(given, known)
    ask = make_ask({name: value for name, value in given.items() if value} | fixed)  # empty: a form's way of null
    return ask, pictures


def check_pictures(pictures: Mapping[str, bytes]) -> None:
    """Raises Refused for a set that no task takes, and for a file that is empty or too large."""
    task_of(pictures)
    for name, data in pictures.items():
        if not data:
            raise Refused(400, "invalid_image", f"{NAMES[name]}: the file is empty")
        if len(data) > MAX_PICTURE_BYTES:
            raise Refused(413, "too_large", f"{NAMES[name]}: over {MAX_PICTURE_BYTES // 1_000_000} MB")


def form_of(ask: Ask, pictures: Mapping[str, bytes]) -> dict:
    """The arguments of httpx that make the multipart request of a question."""
    given = ask.model_dump(exclude_none=True)
    fields = {name: value if isinstance(value, list) else str(value) for name, value in given.items()}
    return {"data": fields, "files": {name: (name, data) for name, data in pictures.items()}}


def form_docs(
    known: Collection[str], pictures: Collection[str] = tuple(PICTURES), required: Collection[str] = ()
) -> dict:
    """OpenAPI: what `read_ask` reads."""
    files = {name: {"type": "string", "format": "binary", "description": NAMES[name]} for name in pictures}
    fields = {name: Ask.model_json_schema()["properties"][name] for name in known}
    schema = {"type": "object", "required": list(required), "properties": files | fields}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


QUESTION_FIELDS = tuple(name for name in Ask.model_fields if name != "score")  # of a question of the user's own
FORM_DOCS = form_docs(QUESTION_FIELDS, required=["question"])
