"""Nano's training on tiny scenes: what is kept of a scene, the encoder's losses, the delta's loss, going on, the table."""

import dataclasses
import sys

import numpy as np
import pytest
import torch

from build_datasets.nano import scenes, train_delta, train_encoder
from build_datasets.nano.asking import Kind, ask
from build_datasets.nano.evaluate import Figure, ece, srcc_within, verdict
from build_datasets.nano.views import CLASS_NAMES, Truth
from conftest import tiny_config
from depictqa.config import load_config
from depictqa.data.training import Conversation
from depictqa.errors import InputError
from depictqa.model.build import build_model
from depictqa.model.efficientnet import SEEN, EfficientNetEncoder, Judgement
from depictqa.training.losses import learn

NOISE = Truth((("noise", "noise_gaussian_RGB", 2),))
TRUTHS = [(NOISE, Truth()), (Truth(), NOISE)]


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    return EfficientNetEncoder().eval().requires_grad_(False)


@pytest.fixture(scope="module")
def made(encoder, tmp_path_factory):
    """A folder of four scenes."""
    folder = tmp_path_factory.mktemp("scenes")
    squares = np.random.default_rng(0).integers(0, 256, (30, 30, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    for start in (0, 2):
        torch.save(scenes.make(range(start, start + 2), ([squares], [squares]), encoder, 0), folder / f"{start}.pt")
    return folder


def test_scenes_are_read_as_they_were_made(made, encoder):
    found = scenes.load(made)
    assert len(found) == 4 and found.looks.shape == (4, 3, 2, encoder.num_statistics)
    assert all(len(pair) == 2 and isinstance(pair[0], Truth) for pair in found.truths)
    assert [len(found.measured(scene)) for scene in range(4)] == [3] * 4
    assert len(found.of(torch.tensor([True, False, False, True]))) == 2


def test_scenes_do_not_depend_on_which_were_made_before(made, encoder):
    squares = np.random.default_rng(0).integers(0, 256, (30, 30, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    again = scenes.make(range(3, 4), ([squares], [squares]), encoder, 0)
    assert torch.equal(again["looks"][0], scenes.load(made).looks[3])


def test_a_folder_without_scenes_is_refused(tmp_path):
    with pytest.raises(InputError, match="no scenes found; make them by build_datasets/nano/scenes.py"):
        scenes.load(tmp_path)


def test_targets_are_those_of_reference_first_and_second():
    classes, present, severity, orders = train_encoder.targets(TRUTHS)
    assert classes.argmax(-1).tolist() == [[0, 2, 0], [0, 0, 2]] and CLASS_NAMES[2] == "noise"
    assert present.sum(-1).tolist() == [[0, 1, 0], [0, 0, 1]]
    assert severity.argmax(-1).tolist() == [[0, 2, 0], [0, 0, 2]]
    assert orders.tolist() == [[1, 0, -1], [0, 1, 1]]  # reference and first, reference and second, first and second


def test_right_judgements_cost_less_than_wrong_ones():
    classes, present, severity, orders = train_encoder.targets(TRUTHS)
    harm = 5 * classes[..., 2:3]
    right = Judgement(10 * classes, 20 * present - 10, 10 * severity, harm)
    wrong = Judgement(*(-part for part in right))
    of_right, of_wrong = (train_encoder.losses(one, classes, present, severity, orders) for one in (right, wrong))
    for name, loss in of_right.items():
        assert loss < of_wrong[name] and loss < (0.1 if name != "severity" else 1.1), name


def test_the_encoder_learns_what_it_sees_often(made):
    torch.manual_seed(0)
    encoder, found = EfficientNetEncoder(), scenes.load(made)
    wanted = train_encoder.targets(found.truths)
    train_encoder.train(encoder, found.looks, wanted, epochs=60)
    with torch.no_grad():
        judged = Judgement.of(encoder.eval().judge(encoder.seen(encoder.standardise(found.looks).flatten(2))))
    certain = wanted[0].amax(-1) == 1
    assert (judged.classes.argmax(-1) == wanted[0].argmax(-1))[certain].float().mean() > 0.8


@pytest.fixture(scope="module")
def config_path(encoder, tmp_path_factory):
    """Of a tiny language model behind Nano's encoder."""
    folder = tmp_path_factory.mktemp("tiny")
    encoder.save(folder / "encoder")
    return tiny_config(
        folder, model={"vision_encoder_path": str(folder / "encoder")}, vision_preprocess={"patch_size": 1}
    )


def test_a_batch_that_reads_its_beginning_once_costs_what_the_model_says(made, config_path, encoder):
    overrides = {"model.delta_path": None, "train.mask_answer_ends": False}
    model = build_model(load_config(config_path, overrides), torch.device("cpu"), torch.float32, delta=False).eval()
    found = scenes.load(made)
    tokens = torch.stack([encoder.tokens(looks) for looks in found.looks.unbind(1)], dim=1)
    rng = np.random.default_rng(0)
    batch = [(scene, ask(Kind("name", True, 1), found.truths[scene], found.measured(scene), rng)) for scene in range(4)]
    pictures = [tokens[scene, index] for scene, asked in batch for index in asked.pictures]
    model.embed_images = lambda images: [model.vision_proj(picture) for picture in pictures]
    conversations = [
        Conversation(asked.task, (torch.empty(0),) * 2, [(asked.question, asked.answer)]) for _, asked in batch
    ]
    with torch.no_grad():
        torch.testing.assert_close(train_delta.losses(model, tokens, batch), learn(model, conversations).sample_losses)


def test_the_projection_starts_from_the_words(config_path):
    overrides = {"model.delta_path": None}
    model = build_model(load_config(config_path, overrides), torch.device("cpu"), torch.float32, delta=False)
    train_delta.Run(model, config_path.parent).begin(None)
    word = model.tokenizer.encode(" noise")
    torch.testing.assert_close(
        model.vision_proj.weight[:, SEEN + CLASS_NAMES.index("noise")],
        model.embed_tokens(torch.tensor(word)).mean(0),
    )


def test_the_delta_is_trained_goes_on_and_loads(made, config_path, tmp_path, monkeypatch):
    out = tmp_path / "out"

    def train(questions):
        flags = {"cfg": config_path, "scenes": made, "out": out, "questions": questions, "batch": 2}
        monkeypatch.setattr(sys, "argv", ["train_delta.py", *(f"--{name}={value}" for name, value in flags.items())])
        train_delta.main()
        return torch.load(out / "state.pt", weights_only=True)

    first = train(4)
    assert 4 <= first["asked"] <= 5  # batches of two, or of one long answer
    second = train(8)
    assert 8 <= second["asked"] <= 9 and second["steps"] > first["steps"]
    config = load_config(config_path, {"model.delta_path": str(out / "delta.pt")})
    model = build_model(config, torch.device("cpu"), torch.float32)
    torch.testing.assert_close(model.vision_proj.bias.data, second["weights"]["vision_proj.bias"].half().float())


@pytest.mark.parametrize("asked, pace", [(0, 0.02), (49, 1), (100, 900 / 950), (1000, 0)])
def test_pace_rises_and_falls(asked, pace):
    assert train_delta.pace_at(asked, 1000) == pytest.approx(pace)


def test_intervals_resample_photos_not_pictures():
    values = np.array([1.0] * 50 + [0.0] * 50)
    of_two = Figure("naming", None, values, ["a"] * 50 + ["b"] * 50)
    assert of_two.interval() == (0, 1)  # two photos: either may be drawn twice
    of_many = Figure("naming", None, values, [str(number) for number in range(100)])
    low, high = of_many.interval()
    assert 0.38 < low < 0.42 and 0.58 < high < 0.62


def test_a_row_says_whether_its_target_is_met():
    row = Figure("naming", 0.9, np.ones(4), list("abcd"))
    assert str(row) == "| naming | 1.000 (1.00 to 1.00) | 4 | 0.90 met |"
    assert str(dataclasses.replace(row, values=np.zeros(4))).endswith("| 0.90 missed |")
    of_error = Figure("ECE of naming", 0.06, np.array([[0.9, 1.0]] * 4), list("abcd"), ece)
    assert str(of_error) == "| ECE of naming | 0.100 (0.10 to 0.10) | 4 | 0.06 missed |"


def test_srcc_within_classes_ignores_what_lies_between_them():
    values = np.array([(1, 1, 0), (2, 2, 0), (3, 3, 0), (30, 1, 1), (20, 2, 1), (10, 3, 1)], float)
    assert srcc_within(values[:3]) == 1 and srcc_within(values) == 0


@pytest.mark.parametrize(
    "text, level",
    [
        ("The image is fine. In summary, the quality of the image is good.", 4),
        ("All in all, this is an image of very bad quality.", 1),
        ("Blurred.", np.nan),
    ],
)
def test_a_description_ends_in_a_level(text, level):
    assert verdict(text) == pytest.approx(level, nan_ok=True)
