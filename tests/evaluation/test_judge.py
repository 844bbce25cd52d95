import json

import numpy as np
import pytest

from depictqa.chat_api import ChatOptions
from depictqa.errors import InputError
from depictqa.evaluation.joining import Problems
from depictqa.evaluation.judge import NO_SCORE, VERSIONS, Judgement, Verdict, judge, parse_scores, read_prompt
from tests.chat_server import ChatServer
from tests.evaluation.goldens import DATA

GOLDEN = json.loads((DATA / "eval_gpt4" / "parse_score.json").read_text())
CASES = [(case, 2) for case in GOLDEN["v1"]] + [(case, 1) for case in GOLDEN["v2"]]

# What the original refused, and we take because it can mean one thing only.
TAKEN = {
    ("8, 9\nx", 2): (8, 9),
    ("Score: 8 9", 2): (8, 9),
    ("\n8 9", 2): (8, 9),
    ("8  9", 2): (8, 9),
    ("8\t9", 2): (8, 9),
    ("8/10 9/10", 2): (8, 9),
    ("9 10 ", 2): (9, 10),
    (" 8 9", 2): (8, 9),
    ("8 9. Because", 2): (8, 9),
    ("8/10", 1): (8,),
    ("Score: 8", 1): (8,),
    ("\n8", 1): (8,),
    ("**8**", 1): (8,),
    ("8\tgood", 1): (8,),
}


@pytest.mark.parametrize(("case", "count"), CASES, ids=[f"{count}-{case['review']!r}" for case, count in CASES])
def test_golden_reviews(case, count):
    scores = case["score"] if isinstance(case["score"], list) else [case["score"]]
    refused = case["stdout"] != ""
    expected = TAKEN.get((case["review"], count)) if refused else tuple(map(float, scores))
    found = parse_scores(case["review"], count)
    assert found == expected if expected is None else np.array_equal(found, expected, equal_nan=True)


@pytest.mark.parametrize(
    ("review", "count", "scores"),
    [
        ("Scores: 8 and 9", 2, (8, 9)),
        ("**8** **9**\nbecause", 2, (8, 9)),
        ("Score: 8.5/10", 1, (8.5,)),
        ("8 out of 10", 1, (8,)),
        ("The overall rating is 7.", 1, (7,)),
        ("Score: -3", 1, (-3,)),
        ("8 9 because of 2", 2, None),
        ("I would give 8 and 2", 2, None),
        ("8-9", 1, None),
        ("18/20", 1, None),
        ("80%", 1, None),
        ("-3 bad", 1, (-3,)),
        ("Assistant 1: 8", 1, None),
    ],
)
def test_tolerance_ends_where_doubt_begins(review, count, scores):
    assert parse_scores(review, count) == scores


ITEMS = [{"id": name, "query": "How is it?", "answer": f"truth {name}"} for name in "abc"]
ANSWERS = [{"id": name, "text": f"It is item {name}"} for name in "abc"]
PROMPT = "{question} {reference} / {answer}"


def run(server, tmp_path, version="v1", predictions=ANSWERS, **options):
    settings = ChatOptions("m", server.url, backoff=0.01, max_tokens=50, **options)
    return judge(version, predictions, ITEMS, settings, tmp_path / "l.jsonl", prompt=PROMPT, allow_missing=True)


@pytest.mark.slow
def test_v1_is_a_ratio_of_means(tmp_path):
    with ChatServer({"a": ["ok:10 5"], "b": ["ok:8 8"], "c": ["ok:6, 5\nHm."]}) as server:
        result = run(server, tmp_path)
    assert result.figure == pytest.approx(100 * 18 / 24)
    low, high = result.interval95
    assert 50 <= low < 75 < high <= 100
    assert server.bodies[0]["messages"][0]["content"].startswith("How is it? truth")


@pytest.mark.slow
def test_nothing_is_scored_0_because_a_call_failed(tmp_path):
    with ChatServer({"a": ["refusal"], "b": ["500"], "c": ["ok:7\nGood"]}) as server:
        result = run(server, tmp_path, version="v2", retries=1)
    assert [verdict.status for verdict in result.verdicts] == ["refused", "failed", "ok"]
    assert [verdict.scores for verdict in result.verdicts] == [None, None, (7.0,)]
    assert result.figure == 7


@pytest.mark.slow
def test_scores_out_of_range_and_reviews_without_one_are_no_scores(tmp_path):
    with ChatServer({"a": ["ok:11"], "b": ["ok:nan"], "c": ["ok:It is good."]}) as server:
        result = run(server, tmp_path, version="v2")
    assert result.statuses == {NO_SCORE: 3}
    with pytest.raises(InputError, match="none of the 3 items was scored"):
        result.figure


@pytest.mark.slow
def test_a_review_cut_after_its_score_counts(tmp_path):
    with ChatServer(default=("cut:8\nIt is",)) as server:
        assert run(server, tmp_path, version="v2").figure == 8


def test_texts_are_never_templates(tmp_path):
    with ChatServer(default=("ok:1 1",)) as server:
        run(server, tmp_path, predictions=[{"id": "a", "text": "{reference} {question} a"}])
    assert server.bodies[0]["messages"][0]["content"] == "How is it? truth a / {reference} {question} a"


def test_a_bad_item_stops_before_anything_is_paid(tmp_path):
    with ChatServer() as server:
        with pytest.raises(InputError, match="item c: the field 'text' must be text"):
            run(server, tmp_path, predictions=[*ANSWERS[:2], {"id": "c", "text": 3}])
        with pytest.raises(InputError, match="1 ids occur more than once in the predictions: a"):
            run(server, tmp_path, predictions=[*ANSWERS, ANSWERS[0]])
    assert server.calls.total() == 0


def test_references_of_score_0_give_no_ratio():
    verdicts = (Verdict("a", "ok", (0.0, 3.0), "0 3", None),)
    with pytest.raises(InputError, match="is undefined"):
        Judgement("v1", verdicts, Problems(), 0.0).figure


def test_prompts_name_what_they_need(tmp_path):
    for version in VERSIONS.values():
        assert all(field in version.prompt for field in ("{question}", "{reference}", "{answer}"))
    (tmp_path / "p.txt").write_text("Grade {answer}")
    with pytest.raises(InputError, match=r"p.txt: expected \{reference\}"):
        read_prompt(tmp_path / "p.txt")
