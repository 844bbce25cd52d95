import pytest

from depictqa.errors import InputError
from depictqa.evaluation.accuracy import multi_distortion, rating, single_distortion
from depictqa.evaluation.plots import accuracy_figure, save_figure


def titles(figure):
    return [axes.get_title().split(" (")[0] for axes in figure.axes if axes.get_title()]


def one_of(count, **fields):
    return [{"id": number, **fields} for number in range(count)]


def test_the_panels_follow_from_the_data():
    answers = one_of(3, answer="Noise", severity=2)
    whole = single_distortion(one_of(3, text="Blur", confidence=0.5), answers)
    confidence_panels = ["Reliability", "Accuracy of the answers kept"]
    assert titles(accuracy_figure(whole)) == [
        "Confusion, % of the true class",
        "Accuracy by severity",
        *confidence_panels,
    ]
    bare = rating(one_of(2, text="Image A"), one_of(2, answer="Image B"))
    assert titles(accuracy_figure(bare)) == ["Confusion, % of the true class"]
    two = multi_distortion(one_of(2, text="Blur and noise"), one_of(2, answer="Noise and blur"))
    assert titles(accuracy_figure(two)) == ["Precision and recall by class"]


def test_nothing_to_draw_is_said():
    answers = [{"id": number, "answer": str(number)} for number in range(50)]
    with pytest.raises(InputError, match="nothing to draw"):
        accuracy_figure(single_distortion(one_of(50, text="0"), answers))


def test_a_failed_write_leaves_nothing(tmp_path):
    figure = accuracy_figure(rating(one_of(2, text="Image A"), one_of(2, answer="Image B")))
    with pytest.raises(ValueError, match="xyz"):
        save_figure(figure, tmp_path / "x.xyz")
    assert list(tmp_path.iterdir()) == []
