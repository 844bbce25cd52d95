"""Another vision encoder and another LLM family, by config alone: tiny random SigLIP and Qwen2.5 train, answer and merge."""

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM, SiglipVisionConfig, SiglipVisionModel

from conftest import image_path, tiny_config
from depictqa.config import load_config
from depictqa.data.images import open_image
from depictqa.data.training import Conversation
from depictqa.errors import InputError
from depictqa.inference.assessor import Assessor, Question
from depictqa.inference.sampling import Sampling
from depictqa.model.build import build_model, build_preprocessor, load_vision_encoder
from depictqa.prompts import TASKS
from depictqa.training.losses import learn


@pytest.fixture(scope="module")
def siglip(tmp_path_factory):
    """A Hugging Face folder of a SigLIP with random weights, patches of 16."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    folder = tmp_path_factory.mktemp("siglip")
    SiglipVisionModel(SiglipVisionConfig(**sizes, image_size=64, patch_size=16)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def qwen(tmp_path_factory):
    """A Hugging Face folder of a Qwen2.5 with random weights and a small tokenizer of its own."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    folder = tmp_path_factory.mktemp("qwen")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(["Image A is better. The image has noise."], trainer)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>").save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = Qwen2Config(
        **sizes, num_key_value_heads=2, vocab_size=tokenizer.get_vocab_size(), tie_word_embeddings=False
    )
    Qwen2ForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture
def config(siglip, qwen, tmp_path):
    paths = {"vision_encoder_path": str(siglip), "llm_path": str(qwen), "llm_conv_type": "chatml", "delta_path": None}
    return load_config(
        tiny_config(tmp_path, model=paths, vision_preprocess={"patch_size": 16}, infer={"max_new_tokens": 5})
    )


def images(preprocess, task) -> tuple[torch.Tensor, ...]:
    names = ("s06_33x47.png", "s10_84x84.png", "s13_260x203.png")
    return tuple(preprocess(open_image(image_path(name))) for name in names[: len(task.fields)])


def test_siglip_features_are_those_of_transformers(siglip):
    encoder = load_vision_encoder(siglip, "local")
    torch.manual_seed(1)
    pictures = [torch.randint(0, 256, (3, *size), dtype=torch.uint8) for size in ((64, 64), (32, 96), (64, 64))]
    features, padding = encoder([encoder.normalize(picture) for picture in pictures])
    assert features.shape == (3, 16, 32) and padding.sum(1).tolist() == [0, 4, 0]
    for picture, tokens in zip(pictures, features, strict=True):
        pixels = (picture[None] / 255 - 0.5) / 0.5
        vit = encoder.vit
        expected = vit(pixels, interpolate_pos_encoding=True).last_hidden_state[0]
        count = encoder.num_tokens(*picture.shape[1:])
        torch.testing.assert_close(vit.post_layernorm(tokens[:count]), expected, atol=1e-5, rtol=1e-5)


def test_what_is_no_known_encoder_is_refused(tmp_path, qwen):
    with pytest.raises(InputError, match="expected a vision encoder of type clip, .*siglip.*; found 'qwen2'"):
        load_vision_encoder(qwen, "local")
    with pytest.raises(InputError, match=f"{tmp_path}/config.json: cannot be read as JSON"):
        load_vision_encoder(tmp_path, "local")


def test_weights_that_a_siglip_folder_lacks_are_not_made_up(siglip, tmp_path):
    weights = load_file(siglip / "model.safetensors")
    name = next(name for name in weights if "encoder.layers.1" in name)
    shutil.copyfile(siglip / "config.json", tmp_path / "config.json")
    save_file(
        {key: value for key, value in weights.items() if key != name}, tmp_path / "model.safetensors", {"format": "pt"}
    )
    with pytest.raises(InputError, match=f"{tmp_path}: 1 weights of its config.json are in none of its files: {name}"):
        load_vision_encoder(tmp_path, "local")


def test_siglip_and_qwen_learn_and_answer_alike_in_any_batch(config):
    model, preprocess = build_model(config, torch.device("cpu"), torch.float32, delta=False), build_preprocessor(config)
    tasks = [TASKS["quality_compare"], TASKS["quality_single_A_noref"]]
    conversations = [Conversation(task, images(preprocess, task), (("Which?", "Image A"),)) for task in tasks]
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        loss = learn(model, conversations).loss
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.1
    questions = [Question(task, images(preprocess, task), "Which?") for task in tasks]
    assessor = Assessor(model.eval())
    together = assessor.assess(questions, Sampling(max_new_tokens=5))
    alone = [assessor.assess([question], Sampling(max_new_tokens=5))[0] for question in questions]
    for one, other in zip(together, alone, strict=True):
        assert one.answer.output_id == other.answer.output_id
        assert one.answer.prob == pytest.approx(other.answer.prob, abs=1e-4)
