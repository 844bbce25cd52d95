"""Every shipped config.yaml and serve.yaml loads, and holds the values of the published experiments."""

from pathlib import Path

import pytest
import yaml

from depictqa.config import Config, ServeConfig, load_config, load_serve_config
from depictqa.config.__main__ import key_reference
from depictqa.config.loading import keys_of
from depictqa.config.schema import AbstractorSizes

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
PUBLISHED = ["DQ495K", "DQ495K_Abstractor", "DQ495K_QInst", "DQ495K_QPath", "MBAPPS"]
ALL = ["_base_", "Nano", *PUBLISHED]

RATINGS = {
    f"{folder}/metas/train_{images}_mix_{name}.json": 1
    for folder, name in (("BAPPS", "bapps_115k"), ("PIPAL", "pipal_70k"), ("KADID10K", "kadid_30k"))
    for images in ("refAB", "AB")
}
SCENES = "DetailDescriptionLAMM/metas/detailed_description_49k.json"


def dq495k(kadis: str = "KADIS700K") -> dict[str, int]:
    """Meta file -> times it is repeated, of the mixture that four experiments share."""
    details = {
        f"{kadis}/{images}_{count}_detail/metas/train_{images}_{count}_detail_{size}.json": 5
        for images in ("refAB", "AB", "refA", "A")
        for count, size in (("sd", "20k"), ("md", "8k"))
    }
    brief = {
        f"{kadis}/metas_combine/refA_sd_md/train_refA_mix_sd84k_md28k.json": 1,
        f"{kadis}/metas_combine/A_sd_md/train_A_mix_sd80k_md27k.json": 1,
    }
    return RATINGS | details | brief | {SCENES: 4}


MIXTURES = {
    "DQ495K": dq495k(),
    "DQ495K_Abstractor": dq495k("KADIS700K_s384")
    | {"KONIQ/metas/train_AB_mix_koniq_100k.json": 1, "SPAQ/metas/train_AB_mix_spaq_100k.json": 1},
    "DQ495K_QInst": dq495k() | {"Q-Instruct/metas/qinstruct_A_200k.json": 1},
    "DQ495K_QPath": dq495k() | {"Q-Instruct/metas/qpath_A_54k.json": 2},
    "MBAPPS": {path.replace("bapps_115k", "bapps_115k_s64"): 1 for path in RATINGS}
    | {f"BAPPS/metas/train_{images}_detail_mbapps_3.8k.json": 20 for images in ("refAB", "AB")}
    | {f"BAPPS/metas/train_{images}_detail_mbapps_1.1k.json": 20 for images in ("refA", "A")}
    | {SCENES: 2},
}


def config(name: str):
    return load_config(EXPERIMENTS / name / "config.yaml")


@pytest.mark.parametrize("name", PUBLISHED)
def test_training_mixture_is_the_published_one(name):
    assert dict(config(name).data.train.meta_paths_weights) == MIXTURES[name]


@pytest.mark.parametrize("name", PUBLISHED)
def test_common_values_are_the_published_ones(name):
    loaded = config(name)
    assert loaded.seed == 131
    assert loaded.data.root_dir == str(EXPERIMENTS.parents[1] / "DataDepictQA")
    assert loaded.model.vision_feature_type == "local"
    assert loaded.model.llm_conv_type == "vicuna_v1"
    assert loaded.model.unique_tag is True
    assert loaded.model.delta_path == str(EXPERIMENTS / name / "ckpt/ckpt.pt")
    assert loaded.model.lora.model_dump() == {
        "lora_r": 16,
        "lora_alpha": 16,
        "lora_dropout": 0.1,
        "lora_target_modules": ["q_proj", "k_proj", "v_proj", "o_proj"],
    }
    train = loaded.train
    assert (train.epochs, train.warmup_rate, train.log_step) == (1, 0.1, 5)
    assert (train.save_freq_step, train.save_freq_epoch, train.max_tokens) == (5000, 1, 512)
    assert train.mask_answer_ends is True
    assert (loaded.infer.max_new_tokens, loaded.infer.temperature, loaded.infer.top_p) == (400, 0, 0.9)


@pytest.mark.parametrize("name", PUBLISHED)
def test_deepspeed_section_is_the_published_one(name):
    deepspeed = config(name).deepspeed
    assert deepspeed.train_micro_batch_size_per_gpu == 1
    assert deepspeed.gradient_accumulation_steps == 16
    assert deepspeed.gradient_clipping == 1
    assert deepspeed.zero_optimization.stage == 1
    assert deepspeed.fp16.enabled is True
    assert deepspeed.optimizer.type == "Adam"
    assert deepspeed.optimizer.params == {
        "lr": 2e-4,
        "betas": [0.9, 0.95],
        "eps": 1e-8,
        "weight_decay": 1e-3,
        "torch_adam": True,
    }
    assert deepspeed.scheduler == {
        "type": "WarmupDecayLR",
        "params": {"warmup_min_lr": 1e-8, "warmup_max_lr": 2e-4},
    }


@pytest.mark.parametrize("name", PUBLISHED)
def test_picture_sizes_are_the_published_ones(name):
    loaded = config(name)
    large = name == "DQ495K_Abstractor"
    assert loaded.vision_preprocess.model_dump() == {
        "patch_size": 14,
        "resize": 1024 if large else 224,
        "min_size": 70,
        "max_size": 2048 if large else 672,
        "crop_ratio": [0.7, 1.0],
        "keep_ratio": True,
        "color_profiles": True,
    }
    if large:
        assert loaded.model.abstractor.model_dump() == {
            "dim_feedforward": 2048,
            "nhead": 8,
            "num_layers": 4,
            "num_query": 64,
            "dropout": 0.1,
            "add_pos_emd": False,
        }
    else:
        assert loaded.model.abstractor is None


TEMPLATE = {  # what the base decides: where the weights and data of the published layout are, and how to train
    *("data.root_dir", "model.vision_encoder_path", "model.llm_path", "model.delta_path", "infer.sentence_model"),
    "infer.output_confidence",  # the answers' format says null unless asked for; the evaluation scripts ask
    "deepspeed",
}


@pytest.mark.parametrize(("file", "schema"), [("config.yaml", Config), ("serve.yaml", ServeConfig)])
def test_base_names_every_key_with_its_default(file, schema):
    """The base is the template for data of one's own."""
    raw = yaml.safe_load((EXPERIMENTS / "_base_" / file).read_text())
    different = set()
    for key, field in keys_of(schema):
        if field.description is None or key.startswith("model.abstractor."):  # a section; null in the base
            continue
        value = raw
        for part in key.split("."):
            assert part in value, f"{file}: {key}"
            value = value[part]
        if value != field.default:
            different.add(key)
    assert different == {key for key in TEMPLATE if schema is Config}


def test_the_reference_of_keys_is_current():
    """After a change: python -m depictqa.config --keys > docs/config.md"""
    assert (EXPERIMENTS.parent / "docs" / "config.md").read_text(encoding="utf-8") == key_reference()


def test_abstractor_experiment_names_every_key():
    raw = yaml.safe_load((EXPERIMENTS / "DQ495K_Abstractor/config.yaml").read_text())
    assert raw["model"]["abstractor"].keys() == AbstractorSizes.model_fields.keys()


@pytest.mark.parametrize("name", ALL)
def test_serve_yaml_listens_on_this_machine_only_with_its_own_model_name(name):
    serve = load_serve_config(EXPERIMENTS / name / "serve.yaml")
    assert {serve.controller.host, serve.gradio.host, serve.worker.host} == {"127.0.0.1"}
    assert (serve.controller.port, serve.gradio.port, serve.worker.port) == (10000, 12345, 22222)
    assert serve.gradio.controller_url == serve.worker.controller == "http://127.0.0.1:10000"
    names = [load_serve_config(EXPERIMENTS / other / "serve.yaml").worker.model_name for other in ALL]
    assert names.count(serve.worker.model_name) == 1


def test_nano_trains_on_a_cpu():
    nano = config("Nano")
    assert nano.model.llm_conv_type == "chatml"
    assert nano.model.abstractor is None  # its encoder makes four tokens of any picture
    assert nano.train.mask_answer_ends is False
    assert nano.infer.output_prob_id is True and nano.infer.output_confidence is True
    assert nano.deepspeed.optimizer.params.lr == nano.deepspeed.scheduler.params.warmup_max_lr
    assert nano.deepspeed.zero_optimization.stage == 0
    assert nano.deepspeed.fp16.enabled is False and nano.deepspeed.bf16.enabled is False


def test_values_that_published_files_set_to_null_load(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(
        "data: {infer: {meta_path: null, dataset_name: null, task_name: null, batch_size: null}}\n"
        "model: {vision_encoder_path: clip.pt, llm_path: llm}\n"
        "train: {save_freq_step: null, save_freq_epoch: null}\n"
    )
    assert load_config(path).train.save_freq_step is None
