"""A score is the mean of the five levels, its error bar their standard deviation; one prefill, nothing decoded."""

import pytest
import torch

from depictqa.inference.assessor import Assessor, Question
from depictqa.inference.calibration import Calibration, Fit
from depictqa.inference.score import score_of
from depictqa.prompts import LEVELS, QUESTIONS, TASKS
from inference.questions import picture
from tests.inference.programs import call, make_config, make_root, read, write_meta

NOTHING = Calibration()


def test_the_score_of_a_distribution_by_hand():
    score = score_of([0.02, 0.06, 0.08, 0.02, 0.02], NOTHING)  # .1 .3 .4 .1 .1 of .2
    assert score.mass == pytest.approx(0.2)
    assert score.levels == pytest.approx({"excellent": 0.1, "good": 0.3, "fair": 0.4, "poor": 0.1, "bad": 0.1})
    assert score.mean == pytest.approx(0.5 + 1.2 + 1.2 + 0.2 + 0.1)  # 3.2
    # .1 * 1.8² + .3 * .8² + .4 * .2² + .1 * 1.2² + .1 * 2.2²
    assert score.std == pytest.approx((0.324 + 0.192 + 0.016 + 0.144 + 0.484) ** 0.5)
    assert score.level == "fair"


@pytest.mark.parametrize(("place", "mean"), [(0, 5), (2, 3), (4, 1)])
def test_a_sure_answer_has_no_error_bar(place, mean):
    score = score_of([float(n == place) for n in range(5)], NOTHING)
    assert (score.mean, score.std, score.mass) == (mean, 0, 1)


def test_an_answer_that_is_none_of_the_levels_tells_nothing():
    score = score_of([0, 0, 0, 0, 0], NOTHING)
    assert (score.mean, score.mass) == (3, 0)
    assert score.std == pytest.approx(2**0.5)


def test_a_temperature_flattens_and_the_raw_levels_stay():
    calibration = Calibration({"score": Fit(temperature=2, n=1, nll_before=1, nll_after=1)})
    score = score_of([0.64, 0.16, 0.04, 0.04, 0.12], calibration)
    assert score.levels_raw["excellent"] == pytest.approx(0.64)
    roots = [0.8, 0.4, 0.2, 0.2, 0.12**0.5]  # p^(1/2), normalised
    assert list(score.levels.values()) == pytest.approx([root / sum(roots) for root in roots])


@pytest.mark.parametrize("name", ["base", "abs"])
def test_the_probabilities_are_those_of_a_forward_pass_whatever_the_batch(name, tiny_model):
    model, preprocess = tiny_model(name)
    names = ("s10_84x84.png", "s06_33x47.png", "s14_gray_2100x75.png")
    pictures = [picture(preprocess, name) for name in names]
    reference = picture(preprocess, "s11_84x84.png")
    questions = [Question(TASKS["quality_single_A_noref"], (one,), QUESTIONS["score"]) for one in pictures]
    questions.append(Question(TASKS["quality_single_A"], (reference, pictures[0]), QUESTIONS["score"]))
    assessor = Assessor(model)
    for question, score in zip(questions, assessor.score(questions), strict=True):
        (prompt,) = assessor.fuse([question], assessor.embed([question]))
        embeds = [s if torch.is_tensor(s) else model.embed_tokens(torch.tensor(s)) for s in prompt.segments]
        with torch.inference_mode():
            logits = model.llm.get_base_model()(inputs_embeds=torch.cat(embeds)[None]).logits[0, -1]
        watched = logits.softmax(-1)[model.level_ids]
        assert score.mass == pytest.approx(watched.sum().item(), abs=1e-5)
        assert list(score.levels.values()) == pytest.approx((watched / watched.sum()).tolist(), abs=1e-4)


@pytest.mark.slow
def test_rows_of_infer_have_scores(tmp_path):
    root = make_root(tmp_path)
    config = make_config(tmp_path, root, infer={"max_new_tokens": 3, "output_confidence": False, "output_score": True})
    path = "shared/images/s10_84x84.png"
    entries = [
        {"id": 1, "image_A": path, "query": QUESTIONS["score"]},
        {"id": 2, "image_A": path, "query": "Is it sharp?"},
    ]
    meta = write_meta(tmp_path / "meta.json", entries)
    flags = ("--meta_path", meta, "--dataset_name", "one", "--batch_size", "2", "--task_name")
    call(config, *flags, "quality_single_A_noref")
    scored, asked = read(tmp_path / "answers" / "quality_single_A_noref_one.json")
    assert scored["text"] == max(scored["levels"], key=scored["levels"].get)
    assert list(scored["levels"]) == list(LEVELS)
    mean = sum(LEVELS[word] * share for word, share in scored["levels"].items())
    assert scored["score"] == pytest.approx(mean)
    assert (scored["output_id"], scored["finish_reason"]) == (None, "stop")  # nothing was decoded
    fields = ("score", "score_std", "levels")
    assert [scored[name] for name in fields] == [asked[name] for name in fields]
    assert asked["text"] != scored["text"]


def test_a_comparison_has_no_score(tmp_path, capsys):
    config = make_config(tmp_path, make_root(tmp_path), infer={"output_score": True})
    meta = write_meta(tmp_path / "meta.json", [])
    with pytest.raises(SystemExit) as ended:
        call(config, "--meta_path", meta, "--dataset_name", "one", "--task_name", "quality_compare_noref")
    assert ended.value.code == 2
    assert (
        "infer.output_score: scores are about one image; quality_compare_noref compares two" in capsys.readouterr().err
    )
