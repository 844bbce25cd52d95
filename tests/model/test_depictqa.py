"""The training forward equals the original's losses; labels, masks and batches do what they say."""

import pytest
import torch

from conftest import golden, load_images
from depictqa.errors import InputError
from depictqa.model.depictqa import Conversation, _similar_sizes
from depictqa.model.fusion import IGNORE, Fused, collate
from depictqa.model.tokenizer import first_ids
from depictqa.prompts import TASKS
from depictqa.training.losses import learn

RUNS = {"e2e": "llm_tiny", "e2e_legacy_false": "llm_tiny_bin"}


def conversation_of(case, preprocess, row=None) -> Conversation:
    task = TASKS[case["task_type"]]
    values = [turn["value"] for turn in case["conversation"]]
    return Conversation(task, load_images(preprocess, task, case), list(zip(values[::2], values[1::2], strict=True)))


@pytest.mark.parametrize("run", RUNS)
def test_losses_and_accuracies(run, tiny_model):
    for case in golden(f"{run}/train.json"):
        model, preprocess = tiny_model(case["model"], RUNS[run], case["conv_type"], case["unique_tag"])
        with torch.no_grad():
            output = learn(model, [conversation_of(case, preprocess)])
        assert output.targets == case["num_targets"]
        assert output.loss.item() == pytest.approx(case["loss"], abs=1e-4)
        assert output.correct.item() / output.targets.item() == pytest.approx(case["acc"])


def test_ids_targets_and_masks_of_every_golden_conversation(tiny_model):
    """Images stand for 2, 3 and 4 places, written -1, -2, -3 in the data."""
    for case in golden("prompts/train.json"):
        llm = {"true": "llm_tiny", "false": "llm_tiny_bin"}[case["tokenizer_legacy"]]
        model, _ = tiny_model("base", llm, case["conv_type"], case["unique_tag"])
        task = TASKS[case["task_type"]]
        places = {"image_ref": -1, "image": -1, "image_A": -2, "image_B": -3}
        embeds = [torch.full((1 - places[field], 1), float(places[field])) for field in task.fields]
        values = [turn["value"] for turn in case["conversation"]]
        turns = list(zip(values[::2], values[1::2], strict=True))
        max_tokens, model.max_tokens = model.max_tokens, case.get("max_tokens", 512)
        fused = model.fuse_conversation(Conversation(task, (), turns), embeds)
        model.max_tokens = max_tokens
        ids = [
            value
            for segment in fused.segments
            for value in (segment if isinstance(segment, list) else segment[:, 0].int().tolist())
        ]
        assert ids == case["fused_ids"]
        assert fused.labels == case["fused_targets"]
        # the prefix keeps its separators visible: only the conversation's ends are hidden
        assert [i for i, visible in enumerate(fused.visible) if not visible] == (
            case["fused_attention_mask_zeros"] or []
        )


def test_image_embeddings_equal_the_originals(tiny_model):
    import numpy as np

    from conftest import DATA, image_path
    from depictqa.data.images import open_image

    arrays = np.load(DATA / "vision" / "image_embeddings.npz")
    for key in arrays:
        if key.endswith("__shape"):
            continue
        name, image = key.split("__")
        model, preprocess = tiny_model(name)
        with torch.no_grad():
            (embeds,) = model.embed_images([preprocess(open_image(image_path(f"{image}.png")))])
        assert list(embeds.shape) == list(arrays[f"{key}__shape"])
        np.testing.assert_allclose(embeds[: len(arrays[key])], arrays[key], atol=1e-4)


@pytest.mark.parametrize("name", ["base", "abs", "glob"])
def test_a_batch_gives_the_samples_own_losses_and_gradients(name, tiny_model):
    model, preprocess = tiny_model(name)
    cases = [case for case in golden("e2e/train.json") if case["model"] == name and case["conv_type"] == "vicuna_v1"][
        :6
    ]
    conversations = [conversation_of(case, preprocess) for case in cases]
    weight = model.vision_proj.weight
    together = learn(model, conversations)
    (gradient,) = torch.autograd.grad(together.loss, weight)
    alone = [learn(model, [conversation]) for conversation in conversations]
    gradients = [torch.autograd.grad(output.loss, weight)[0] for output in alone]
    torch.testing.assert_close(
        together.sample_losses, torch.cat([o.sample_losses for o in alone]), atol=1e-5, rtol=1e-5
    )
    torch.testing.assert_close(gradient, torch.stack(gradients).mean(0), atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("llm", ["llm_tiny", "llm_tiny_bin"])
def test_the_first_token_of_an_answer_tells_its_level(llm, tiny_model):
    model, _ = tiny_model("base", llm)
    assert [text.strip() for text in model.tokenizer.token_texts(model.level_ids)] == ["e", "good", "f", "p", "b"]


def test_levels_that_begin_alike_are_refused():
    class Letters:
        def encode(self, text):
            return [ord(letter) for letter in text]

    with pytest.raises(InputError, match="does not tell the levels .* by their first token: good by 103, great by 103"):
        first_ids(Letters(), ["good\n", "great\n"])


def test_only_answers_are_learned_and_ends_are_hidden():
    fused = Fused()
    fused.add_text([1, 2, 3])
    fused.add_image(torch.zeros(2, 4))
    fused.add_text([5, 2], hidden_id=2)
    fused.add_text([6, 2], is_target=True, hidden_id=2)
    assert fused.labels == [IGNORE] * 7 + [6, 2]
    assert fused.visible == [True] * 6 + [False, True, False]


def test_padding_has_no_position_and_is_masked():
    embed = torch.nn.Embedding(9, 4)
    short, long = Fused(), Fused()
    short.add_text([1, 2])
    long.add_text([1, 2, 3, 4])
    left, right = (collate([short, long], embed, side) for side in ("left", "right"))
    assert left.attention_mask.tolist() == [[0, 0, 1, 1], [1, 1, 1, 1]]
    assert left.position_ids.tolist() == [[0, 0, 0, 1], [0, 1, 2, 3]]
    assert right.attention_mask.tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]
    assert torch.equal(left.inputs_embeds[0, 2:], embed.weight[[1, 2]])


def test_pictures_of_similar_size_share_a_pass():
    images = [torch.zeros(3, size, size) for size in (100, 10, 95, 11)]
    assert _similar_sizes(images) == [[0, 2], [3, 1]]


def test_the_vision_encoder_stays_frozen_in_training(tiny_model):
    model, _ = tiny_model("abs")
    model.train()
    assert not model.vision_encoder.training
    trainable = {name.split(".")[0] for name, parameter in model.named_parameters() if parameter.requires_grad}
    model.eval()
    assert trainable == {"abstractor", "vision_proj", "llm"}
