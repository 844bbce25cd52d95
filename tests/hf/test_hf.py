"""The exported folder, loaded by transformers' Auto classes, answers with the ids of our own programs."""

import json
import sys

import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor, pipeline

import depictqa
from conftest import golden, image_path, tiny_config
from depictqa import export as program
from depictqa.config import load_config
from depictqa.data.images import open_image
from depictqa.errors import InputError
from depictqa.hf.exporting import export_hf
from depictqa.hf.modeling import unpatchify
from depictqa.hf.processing import patchify
from depictqa.inference.generation import generate
from depictqa.inference.sampling import Sampling
from depictqa.model import exporting
from depictqa.prompts import TASKS, get_task

MODELS = {"base": "llm_tiny", "abs": "llm_tiny_bin", "glob": "llm_tiny"}
MAX_NEW_TOKENS = 24  # of tiny_config


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """`exported(name)` -> (folder, model, processor), each exported and loaded once."""
    loaded = {}

    def load(name="base"):
        if name not in loaded:
            folder = tmp_path_factory.mktemp(name) / "hf"
            difference, agreement = export_hf(
                load_config(tiny_config(folder.parent, name, MODELS[name])), folder, torch.float32
            )
            assert difference < 1e-4 and agreement == 1
            model = AutoModelForImageTextToText.from_pretrained(folder).eval()
            loaded[name] = (folder, model, AutoProcessor.from_pretrained(folder))
        return loaded[name]

    return load


def questions(name):
    """(task, paths of images in the order of its slots, question) of the golden cases: all tasks, images of all sizes."""
    cases = [case for case in golden("e2e/infer.json") if case["model"] == name and case["conv_type"] == "vicuna_v1"]
    for case in cases:
        task = TASKS[case["task_type"]]
        if case["unique_tag"] and task.inference:
            for row, query in enumerate(case["query"]):
                yield task, [path_of(case, field, row) for field in task.fields], query


def path_of(case, field, row=0):
    """A golden picture; the cases call the reference `image`."""
    return str(image_path(case["image" if field == "image_ref" else field][row]))


def our_ids(tiny_model, name, task, paths, query):
    model, preprocess = tiny_model(name, MODELS[name])
    with torch.no_grad():
        embeds = model.embed_images([preprocess(open_image(path)) for path in paths])
    fused = model.fuse_question(task, embeds, query)
    return generate(model, [fused], Sampling(max_new_tokens=MAX_NEW_TOKENS))[0].output_id


def until_end(ids, end):
    """Generated ids up to and with the first end; what follows is padding."""
    ids = ids.tolist()
    return ids[: ids.index(end) + 1] if end in ids else ids


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_greedy_answers_have_our_ids_alone_and_in_a_batch(name, exported, tiny_model):
    _, model, processor = exported(name)
    asked = list(questions(name))
    assert {len(paths) for _, paths, _ in asked} == {1, 2, 3}
    expected = [our_ids(tiny_model, name, *one) for one in asked]
    end = processor.pad_token_id
    for (task, paths, query), ids in zip(asked, expected, strict=True):
        inputs = processor(paths, query, task.name)
        answer = model.generate(**inputs)[0, inputs["input_ids"].shape[1] :]
        assert until_end(answer, end) == ids
    inputs = processor([paths for _, paths, _ in asked], [q for *_, q in asked], [task.name for task, *_ in asked])
    rows = model.generate(**inputs)[:, inputs["input_ids"].shape[1] :]
    assert [until_end(row, end) for row in rows] == expected


def test_beams_and_samples_of_one_question_share_its_images(exported):
    _, model, processor = exported()
    inputs = processor(gray(), "What is wrong?")
    greedy = model.generate(**inputs)
    beams = model.generate(**inputs, num_beams=3, num_return_sequences=2, max_new_tokens=4)
    assert len(beams) == 2
    samples = model.generate(**inputs, do_sample=True, top_k=1, num_return_sequences=3)
    assert all(torch.equal(row, greedy[0]) for row in samples)


def gray(width=90, height=80):
    return Image.linear_gradient("L").resize((width, height)).convert("RGB")


def test_loss_and_gradients(exported):
    _, model, processor = exported()
    inputs = processor(gray(), "What is wrong?")
    loss = model(**inputs, labels=inputs["input_ids"]).loss
    loss.backward()
    assert loss.isfinite() and model.vision_proj.weight.grad.abs().sum() > 0
    assert model.vision_encoder.proj.grad is None
    model.zero_grad()


def chat(*blocks):
    kinds = {str: "text", Image.Image: "image"}
    return [{"role": "user", "content": [{"type": kinds[type(block)], kinds[type(block)]: block} for block in blocks]}]


@pytest.mark.slow
def test_a_pipeline_answers_chats_of_any_shape(exported, tiny_model):
    folder, _, processor = exported()
    pipe = pipeline("image-text-to-text", model=str(folder))
    assert type(pipe.model).__name__ == "DepictQAForConditionalGeneration"
    small, large = gray(), gray(300, 150)
    asked = [
        (chat(small, "What is wrong?"), "quality_single_A_noref", [small]),
        (chat(small, large, "Which is better?"), "quality_compare_noref", [small, large]),
        (chat(large, small, large, "Which is better?"), "quality_compare", [large, small, large]),
        (chat("Image A:", small, "Reference Image:", large, "What is wrong?"), "quality_single_A", [large, small]),
    ]
    for batch_size in (1, 2):
        answers = pipe(text=[messages for messages, *_ in asked], batch_size=batch_size, return_full_text=False)
        for (messages, task, images), answer in zip(asked, answers, strict=True):
            ids = our_ids(tiny_model, "base", get_task(task), images, messages[0]["content"][-1]["text"])
            assert answer[0]["generated_text"].strip() == processor.decode(ids).strip()


def test_a_pipeline_takes_an_image_and_a_question(exported, tiny_model):
    folder, _, processor = exported()
    path, question = str(image_path("s03_300x180.png")), "What is wrong?"
    answer = pipeline("image-text-to-text", model=str(folder))(path, text=question, return_full_text=False)
    ids = our_ids(tiny_model, "base", get_task("quality_single_A_noref"), [path], question)
    assert answer[0]["generated_text"].strip() == processor.decode(ids).strip()


def test_a_rendered_prompt_gives_the_same_inputs(exported):
    """The two ways of transformers: render and tokenize at once, or one after the other."""
    _, _, processor = exported()
    messages, images = chat(gray(), gray(70, 70), "Which is better?"), [gray(), gray(70, 70)]
    text = processor.apply_chat_template(messages)
    assert text.count("<image>") == 2 and text.endswith("ASSISTANT: ")
    at_once = processor.apply_chat_template(messages, tokenize=True, return_dict=True)
    for inputs in (processor(images, text), processor(images, "Which is better?")):
        assert all(torch.equal(inputs[key], at_once[key]) for key in at_once)
    assert torch.equal(processor.apply_chat_template(messages, tokenize=True), at_once["input_ids"])
    two = processor.apply_chat_template([messages, chat(gray(), "Sharp?")], tokenize=True, return_dict=True)
    assert two["image_sizes"].tolist() == [[84, 98], [70, 70], [84, 98]]


def test_a_saved_processor_and_model_are_the_same(exported, tmp_path):
    folder, model, processor = exported()
    processor.save_pretrained(tmp_path)
    model.save_pretrained(tmp_path)
    again = AutoProcessor.from_pretrained(tmp_path)
    assert again.to_dict() == processor.to_dict()
    for name in ("tokenizer.model", "tokenizer_config.json"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()
    inputs = again(gray(), "What is wrong?")
    reloaded = AutoModelForImageTextToText.from_pretrained(tmp_path)
    assert torch.equal(reloaded.generate(**inputs), model.generate(**inputs))


def test_the_folder_holds_weights_in_the_asked_dtype(tmp_path):
    export_hf(load_config(tiny_config(tmp_path)), tmp_path / "hf", torch.float16)
    assert json.loads((tmp_path / "hf" / "config.json").read_text())["dtype"] == "float16"
    assert AutoModelForImageTextToText.from_pretrained(tmp_path / "hf").dtype == torch.float16
    assert not (tmp_path / "hf" / "delta.pt").exists()


def test_patches_and_back():
    image = torch.arange(3 * 28 * 42).reshape(3, 28, 42)
    patches = patchify(image, 14)
    assert patches.shape == (6, 3, 14, 14)
    assert torch.equal(patches[4], image[:, 14:, 14:28])  # row 1, column 1
    restored = unpatchify(torch.cat([patches, patches[:1]]), [(28, 42), (14, 14)])
    assert torch.equal(restored[0], image) and torch.equal(restored[1], image[:, :14, :14])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p: p(gray(), ""), "text: expected a question, found none"),
        (lambda p: p([gray()] * 4, "?"), "images: expected 1 to 3, found 4"),
        (lambda p: p([gray()], "?", "quality_compare"), "images: expected 3 for quality_compare, found 1"),
        (lambda p: p([gray()], "?", "quality"), "unknown task 'quality'"),
        (lambda p: p([gray()], "<image> or <image>?"), "images: expected 2, one per <image>, found 1"),
        (lambda p: p("absent.png", "?"), "absent.png: no such image"),
        (lambda p: p.apply_chat_template(chat("?")), "images: expected 1 to 3, found 0"),
        (
            lambda p: p.apply_chat_template(chat(gray(), "?") * 2),
            "conversation: expected one message of the role 'user'",
        ),
        (lambda p: p.apply_chat_template(chat("Image A:", gray(), gray(), "?")), "label every image once"),
    ],
)
def test_mistakes_are_one_line(call, message, exported):
    with pytest.raises(InputError, match=message.replace("?", r"\?")):
        call(exported()[2])


def test_what_cannot_be_exported_leaves_nothing(tmp_path, monkeypatch):
    config = load_config(tiny_config(tmp_path), {"model.llm_conv_type": "vicuna_v0"})
    with pytest.raises(InputError, match="model.llm_conv_type: answers end with '###', which is not one token"):
        export_hf(config, tmp_path / "hf", torch.float32)
    monkeypatch.setattr(exporting, "LEAST_AGREEMENT", 1.1)
    with pytest.raises(InputError, match="the exported model gives other answers: 100.0%"):
        export_hf(load_config(tiny_config(tmp_path)), tmp_path / "hf", torch.float32)
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def test_the_command_line(tmp_path, monkeypatch, capsys):
    arguments = ["--cfg", str(tiny_config(tmp_path)), "--out", str(tmp_path / "hf"), "--dtype", "fp32"]
    monkeypatch.setattr(sys, "argv", ["depictqa export", *arguments, "--format", "hf"])
    program.main()
    assert "100.0% of the likeliest tokens agree" in capsys.readouterr().out
    assert json.loads((tmp_path / "hf" / "config.json").read_text())["model_type"] == "depictqa"


@pytest.mark.slow
def test_an_encoder_that_transformers_does_not_know_is_refused(tmp_path):
    config = depictqa.load("nano", device="cpu").config
    with pytest.raises(depictqa.InputError, match="expected a vision encoder of type .*; found EfficientNetEncoder"):
        export_hf(config, tmp_path / "hf", torch.float16)
    assert not (tmp_path / "hf").exists()
