"""Configs: defaults, base merge, overrides, paths, and every mistake named at once."""

from pathlib import Path

import pytest
import yaml

from depictqa.config import load_config, load_serve_config, main, parse_overrides, require_file
from depictqa.errors import InputError


def write(folder: Path, text: str, name: str = "config.yaml") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    return folder / name


MODEL = "model: {vision_encoder_path: a.pt, llm_path: llm}\n"


def test_defaults_are_the_published_values(tmp_path):
    config = load_config(write(tmp_path, MODEL))
    assert (config.seed, config.model.lora.lora_r, config.train.max_tokens) == (131, 16, 512)
    assert config.model.abstractor is None


def test_base_dictionaries_merge_and_lists_replace(tmp_path):
    write(tmp_path / "base", MODEL + "data: {train: {meta_paths_weights: [[a.json, 1], [b.json, 2]]}}\ntrain: {epochs: 3}\n")
    path = write(tmp_path / "exp", "base: ../base/config.yaml\ndata: {train: {meta_paths_weights: [[c.json, 5]]}}\n")
    config = load_config(path)
    assert config.train.epochs == 3
    assert config.data.train.meta_paths_weights == [["c.json", 5]]


def test_relative_paths_belong_to_the_experiment_not_to_its_base(tmp_path):
    write(tmp_path / "base", MODEL + "train: {save_dir: ./ckpt/}\n")
    config = load_config(write(tmp_path / "exp", "base: ../base/config.yaml\n"))
    assert config.train.save_dir == str(tmp_path / "exp" / "ckpt")
    assert config.model.llm_path == str(tmp_path / "exp" / "llm")


def test_package_paths(tmp_path):
    config = load_config(write(tmp_path, "model: {vision_encoder_path: a.pt, llm_path: 'package:yaml/loader.py'}\n"))
    assert Path(config.model.llm_path).is_file()


def test_overrides_win_and_are_checked(tmp_path):
    path = write(tmp_path, MODEL)
    config = load_config(
        path, parse_overrides(["train.epochs=2", "model.abstractor.num_query=16", "infer.temperature=1e-1"])
    )
    assert (config.train.epochs, config.model.abstractor.num_query, config.infer.temperature) == (2, 16, 0.1)
    with pytest.raises(InputError, match="expected KEY=VALUE, found 'epochs'"):
        parse_overrides(["epochs"])


def test_numbers_without_a_point_are_numbers_in_parts_that_are_passed_on(tmp_path):
    path = write(tmp_path, MODEL + "deepspeed: {optimizer: {params: {lr: 2e-4, eps: -1E3, name: e4}}}\n")
    assert load_config(path).deepspeed.optimizer.params == {"lr": 2e-4, "eps": -1000.0, "name": "e4"}


def test_all_mistakes_at_once(tmp_path):
    path = write(tmp_path, "model: {vision_encoder_pth: a.pt, llm_conv_type: vicuna}\ntrain: {epochs: two}\nseed: null\n")
    with pytest.raises(InputError) as error:
        load_config(path)
    message = str(error.value)
    assert message.startswith(str(path))
    assert "unknown key 'model.vision_encoder_pth'; did you mean 'model.vision_encoder_path'?" in message
    assert "model.llm_path is missing" in message
    assert "model.llm_conv_type: expected default | v0" in message and "found 'vicuna'" in message
    assert "train.epochs: expected int" in message and "found 'two'" in message
    assert "seed: expected int" in message and "found null" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: [", "not valid YAML"),
        ("\ta: 1", "not valid YAML"),
        ("a: @x", "not valid YAML"),
        ("seed: 1\nseed: 2", "the key 'seed' is given twice"),
        ("- 1", "expected keys and values, found list"),
        ("", "expected keys and values, found nothing"),
        ("1: 2", "1: expected a name as key, found int"),
        ("train: {null: 2}", "train.None: expected a name as key, found nothing"),
        ("base: 3", "base: expected the path of a YAML file, found 3"),
        ("base: none.yaml", "none.yaml: cannot be read .*; it is the base of .*config.yaml"),
        ("base: config.yaml", r"this file is its own base \(config.yaml -> config.yaml\)"),
    ],
)
def test_files_that_are_no_config(tmp_path, text, expected):
    with pytest.raises(InputError, match=expected) as error:
        load_config(write(tmp_path, text))
    assert "\n" not in str(error.value) and str(tmp_path) in str(error.value)


def test_bases_that_lead_back_or_are_no_mapping(tmp_path):
    write(tmp_path, "base: b.yaml\n", "a.yaml")
    write(tmp_path, "base: a.yaml\n", "b.yaml")
    with pytest.raises(InputError, match=r"its own base \(a.yaml -> b.yaml -> a.yaml\)"):
        load_config(tmp_path / "a.yaml")
    write(tmp_path, "- 1\n", "list.yaml")
    with pytest.raises(InputError, match=r"list.yaml: expected keys and values, found list; it is the base of .*config.yaml"):
        load_config(write(tmp_path, "base: list.yaml\n"))


def test_encodings(tmp_path):
    path = write(tmp_path, "")
    path.write_bytes("\ufeff".encode() + MODEL.encode())
    assert load_config(path).seed == 131
    path.write_bytes(MODEL.encode("utf-16"))
    with pytest.raises(InputError, match="config.yaml: not valid YAML"):
        load_config(path)


def test_an_empty_section_holds_its_defaults(tmp_path):
    config = load_config(write(tmp_path, MODEL + "train:\ndata: {infer: }\nvision_preprocess:\n"))
    assert (config.train.epochs, config.data.infer.batch_size, config.vision_preprocess.resize) == (1, 1, 224)


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("infer.temperature=-1", r"infer.temperature: expected float from 0 \(.*\), found -1"),
        ("infer.top_p=7", "infer.top_p: expected float above 0 up to 1"),
        ("infer.top_p=.nan", "infer.top_p: expected float"),
        ("infer.max_new_tokens=-3", "infer.max_new_tokens: expected int from 1"),
        ("infer.max_new_tokens=true", "infer.max_new_tokens: expected int from 1 .* found True"),
        ("vision_preprocess.crop_ratio=[3]", "crop_ratio.*: expected two numbers above 0 and up to 1"),
        ("vision_preprocess.crop_ratio=[0.7]", "crop_ratio: expected two numbers"),
        ("vision_preprocess.crop_ratio=[1, 0.7]", "crop_ratio: expected two numbers .* the lower one first"),
        ("vision_preprocess.min_size=700", "vision_preprocess.min_size is larger than vision_preprocess.max_size"),
        ("model.lora.lora_r=0", "model.lora.lora_r: expected int from 1"),
        ("model.lora.lora_dropout=1", "model.lora.lora_dropout: expected float from 0 below 1"),
        ("model.lora=3", "model.lora: expected keys and values, found 3"),
        ("model.llm_path=''", "model.llm_path: expected path"),
        ("train.save_freq_step=0", "train.save_freq_step: expected int from 1 or null"),
        ("train.max_broken=2", "train.max_broken: expected float from 0 up to 1"),
        ("data.num_workers=-1", "data.num_workers: expected int from 0"),
        ("train.epoch=2", "unknown key 'train.epoch'; did you mean 'train.epochs'"),
        ("train.epochs=@x", "--set train.epochs: not valid YAML"),
        ("train.epochs={", "--set train.epochs: not valid YAML"),
        ("seed.x=1", r"--set seed.x: 'seed' is a value \(131\), not a section"),
        ("train.epochs.y=2", r"--set train.epochs.y: 'train.epochs' is a value \(3\), not a section"),
    ],
)
def test_every_mistake_of_a_value_is_one_line(tmp_path, assignment, expected):
    path = write(tmp_path, MODEL + "seed: 131\ntrain: {epochs: 3}\n")
    with pytest.raises(InputError, match=expected) as error:
        load_config(path, parse_overrides([assignment]))
    assert "\n" not in str(error.value)


def test_global_features_and_an_abstractor_exclude_each_other(tmp_path):
    overrides = {"model.vision_feature_type": "global", "model.abstractor": {}}
    with pytest.raises(InputError, match="config.yaml: model.abstractor reads patch tokens"):
        load_config(write(tmp_path, MODEL), overrides)


def test_absent_config(tmp_path):
    with pytest.raises(InputError, match="none.yaml: cannot be read"):
        load_config(tmp_path / "none.yaml")


def test_require_file_names_key_and_readme(tmp_path):
    config = load_config(write(tmp_path, MODEL))
    with pytest.raises(InputError, match=r"config.yaml: model.llm_path: .*llm does not exist \(README.md, section 'Models'"):
        require_file(config, "model.llm_path")
    with pytest.raises(InputError, match="model.delta_path is empty"):
        require_file(config, "model.delta_path")


def test_serve_defaults_listen_on_loopback_only(tmp_path):
    config = load_serve_config(write(tmp_path, "controller: {port: 10001}\n", "serve.yaml"))
    assert (config.controller.port, config.gradio.port, config.worker.port) == (10001, 12345, 22222)
    assert {config.controller.host, config.gradio.host, config.worker.host} == {"127.0.0.1"}


def test_addresses_follow_from_ports_unless_they_are_given(tmp_path):
    text = "controller: {port: 1}\nworker: {port: 2, host: 0.0.0.0}\ngradio: {controller_url: 'http://other:3'}\n"
    config = load_serve_config(write(tmp_path, text, "serve.yaml"))
    assert (config.controller.url, config.worker.controller) == ("http://127.0.0.1:1",) * 2
    assert config.worker.worker_url == "http://127.0.0.1:2"
    assert config.gradio.controller_url == "http://other:3"


def show(capsys, monkeypatch, *arguments: str) -> str:
    monkeypatch.setattr("sys.argv", ["config", *arguments])
    main()
    return capsys.readouterr().out


def test_a_config_is_shown_whole_or_by_key(tmp_path, capsys, monkeypatch):
    path = str(write(tmp_path, MODEL + "data: {root_dir: ./data}\n"))
    assert show(capsys, monkeypatch, path, "data.root_dir") == f"{tmp_path}/data\n"
    assert show(capsys, monkeypatch, path, "model.lora.lora_r") == "16\n"
    shown = yaml.safe_load(show(capsys, monkeypatch, path))
    assert shown["infer"]["max_new_tokens"] == 400 and shown["data"]["root_dir"] == f"{tmp_path}/data"


def test_a_key_that_is_none_is_said(tmp_path, capsys, monkeypatch):
    with pytest.raises(SystemExit):
        show(capsys, monkeypatch, str(write(tmp_path, MODEL)), "data.root")
    assert "config.yaml: no key 'data.root'" in capsys.readouterr().err
