"""Configs: defaults, base merge, overrides, paths, and every mistake named at once."""

from pathlib import Path

import pytest
import yaml

from depictqa.config import load_config, load_serve_config, parse_overrides, require_file
from depictqa.config.__main__ import main
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
    write(
        tmp_path / "base",
        MODEL + "data: {train: {meta_paths_weights: [[a.json, 1], [b.json, 2]]}}\ntrain: {epochs: 3}\n",
    )
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
    path = write(
        tmp_path, "model: {vision_encoder_pth: a.pt, llm_conv_type: vicuna}\ntrain: {epochs: two}\nseed: null\n"
    )
    with pytest.raises(InputError) as error:
        load_config(path)
    message = str(error.value)
    assert message.startswith(str(path))
    assert "unknown key 'model.vision_encoder_pth'; did you mean 'model.vision_encoder_path'?" in message
    assert "model.llm_path is missing" in message
    assert "model.llm_conv_type: expected default | v0" in message and "found 'vicuna'" in message
    assert "train.epochs: expected a whole number >= 1 (passes over" in message and "found 'two'" in message
    assert "seed: expected a whole number >= 0" in message and "found null" in message
    assert "\n" not in message


BOMB = "a0: &a0 [1]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: [", "not valid YAML"),
        ("train:\n\tepochs: 1", r"not valid YAML: .*; indent with spaces, not tabs \(line 2, column 1\)"),
        (
            "a: 1\n---\nb: 2",
            "not valid YAML: expected a single document in the stream, but found another document .line 2, column 1",
        ),
        ("a: !!python/name:os.system", "not valid YAML: .*could not determine a constructor"),
        ("- 1", r"expected keys and values, found \[1\]"),
        ("", "expected keys and values, found null"),
        ("train: {epochs: 1, epochs: 2}", "key 'epochs' is given twice, first in line 1 .line 1, column 20"),
        ("1: a", "expected a name as a key, found 1 .line 1, column 1"),
        ("train: {on: 1}", "expected a name as a key, found on "),
        ("{[1]: 2}", "expected a name as a key, found a collection"),
        ("deepspeed: {gradient_clipping: .inf}", "expected a finite number, found .inf"),
        ("infer: {temperature: .nan}", "expected a finite number, found .nan"),
        ("infer: {temperature: 1e999}", "expected a finite number, found 1e999"),
        ("seed: 2026-13-45", "not valid YAML: .*month"),
        ("seed: !!int x", "not valid YAML: invalid literal"),
        ("seed: !!bool x", "not valid YAML: 'x'"),
        ("seed: !!timestamp x", "not valid YAML: "),
        ("seed: " + "1" * 5000, "not valid YAML: .*4300 digits"),
        ("a: " + "[" * 1000, "not valid YAML: it is nested too deeply"),
        (BOMB, "aliases that refer to aliases multiply"),
        ("a: &a {b: *a}", "aliases that refer to aliases multiply"),
    ],
)
def test_files_that_are_no_config(tmp_path, text, expected):
    path = write(tmp_path, text)
    with pytest.raises(InputError, match=expected) as error:
        load_config(path)
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)


def test_a_file_is_utf8_with_or_without_a_mark(tmp_path):
    text = MODEL + "infer: {answer_dir: é}\n"
    (tmp_path / "config.yaml").write_bytes(text.encode("utf-8-sig"))
    assert load_config(tmp_path / "config.yaml").infer.answer_dir == f"{tmp_path}/é"
    for encoding, byte in (("utf-16", "0xff at 0"), ("latin-1", f"0xe9 at {text.index('é')}")):
        (tmp_path / "config.yaml").write_bytes(text.encode(encoding))
        with pytest.raises(InputError, match=f"config.yaml: expected UTF-8 text, found byte {byte}"):
            load_config(tmp_path / "config.yaml")


def test_aliases_and_merges_are_read(tmp_path):
    path = write(tmp_path, MODEL + "deepspeed: {a: &a {lr: 1, x: 2}, b: {<<: *a, lr: 3}}\n")
    assert load_config(path).deepspeed.b == {"lr": 3, "x": 2}


@pytest.mark.parametrize(
    ("base", "expected"),
    [
        ("config.yaml", "base: expected a file that does not lead back here, found .*config.yaml -> .*config.yaml"),
        ("other.yaml", "other.yaml: base: expected a file .*, found .*config.yaml -> .*other.yaml -> .*config.yaml"),
        ("list.yaml", r"config.yaml: base: .*list.yaml: expected keys and values, found \[1, 2\]"),
        ("absent.yaml", "config.yaml: base: .*absent.yaml: cannot be read .No such file"),
        (".", "config.yaml: base: .*: cannot be read .Is a directory"),
        ("[a.yaml]", r"config.yaml: base: expected a path, found \['a.yaml'\]"),
        ("3", "config.yaml: base: expected a path, found 3"),
        ("''", "config.yaml: base: expected a path, found ''"),
        ('"a\\0b"', "config.yaml: base: expected a path, found .*null"),
        ("~nobody-of-that-name/a.yaml", "config.yaml: base: expected a path, found .*home directory"),
    ],
)
def test_a_base_that_cannot_be(tmp_path, base, expected):
    write(tmp_path, "base: config.yaml\n", "other.yaml")
    write(tmp_path, "[1, 2]\n", "list.yaml")
    with pytest.raises(InputError, match=expected):
        load_config(write(tmp_path, f"base: {base}\n"))


@pytest.mark.parametrize(
    "text", ["train:\n", "train: {}\n", "data:\n  train:\n", "vision_preprocess: null\ndeepspeed: {}\n"]
)
def test_an_empty_section_says_nothing(tmp_path, text):
    """Over a base it keeps what the base says; `abstractor: null` is a value, and removes the base's."""
    base = write(
        tmp_path, MODEL + "train: {epochs: 3}\ndata: {train: {meta_paths_weights: [[a.json, 1]]}}\n", "base.yaml"
    )
    assert load_config(write(tmp_path, MODEL + text)).model_dump() == load_config(write(tmp_path, MODEL)).model_dump()
    over = load_config(write(tmp_path, "base: base.yaml\n" + text))
    assert over.model_dump() == load_config(base).model_dump()


def test_null_removes_the_abstractor_of_a_base(tmp_path):
    write(tmp_path, "model: {vision_encoder_path: a, llm_path: b, abstractor: {num_query: 3}}\n", "base.yaml")
    assert load_config(write(tmp_path, "base: base.yaml\n")).model.abstractor.num_query == 3
    assert load_config(write(tmp_path, "base: base.yaml\nmodel: {abstractor: null}\n")).model.abstractor is None


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("train.epochs=@x", "--set train.epochs=@x: .*cannot start any token"),
        ("train.epochs={", "--set train.epochs={: "),
        ("train.epochs=.inf", "--set train.epochs=.inf: expected a finite number"),
        ("seed.x=1", "--set seed.x=1: seed is 5 and holds no keys"),
        ("train.epochs.y=2", "--set train.epochs.y=2: train.epochs is 2 and holds no keys"),
        ("infer.output_confidence.z.k=2", "infer.output_confidence: expected true or false .*, found {.z.: {.k.: 2}}"),
        ("train=3", "train: expected keys and values, found 3"),
        ("train=[]", r"train: expected keys and values, found \[\]"),
        ("train..epochs=1", "unknown key 'train.'"),
        (".=1", "unknown key ''"),
        ("deepspeed=[1]", "deepspeed: expected keys and values .DeepSpeed's own configuration, passed on., found .1."),
        ("model.abstractor=3", "model.abstractor: expected keys and values or null .*, found 3"),
        ("model.abstractor.nhed=3", "unknown key 'model.abstractor.nhed'; did you mean 'model.abstractor.nhead'"),
        ("epochs=3", "unknown key 'epochs'; did you mean 'train.epochs'"),
        ("modle={llm_path: x}", "unknown key 'modle'; did you mean 'model'"),
        ("model.llm_path=~nobody-of-that-name/x", "model.llm_path: expected a path .*, found '~nobody"),
        ("model.llm_path=''", "model.llm_path: expected a path .*, found ''"),
    ],
)
def test_an_override_that_cannot_be(tmp_path, override, expected):
    path = write(tmp_path, MODEL + "seed: 5\ntrain: {epochs: 2}\n")
    with pytest.raises(InputError, match=f"^{path}: {expected}"):
        load_config(path, parse_overrides([override]))


def test_mistakes_of_the_command_line_and_of_the_file_are_said_together(tmp_path):
    path = write(tmp_path, MODEL + "train: {epochs: 0}\n")
    with pytest.raises(InputError, match="--set seed=@: .*; train.epochs: expected .*; infer.top_p: expected "):
        load_config(path, parse_overrides(["seed=@", "infer.top_p=7"]))


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("seed", -1, "a whole number >= 0 and < 4294967296"),
        ("seed", True, "a whole number >= 0 and < 4294967296"),
        ("data.num_workers", -1, "a whole number >= 0"),
        ("data.infer.batch_size", 0, "a whole number >= 1 or null"),
        ("model.lora.lora_r", 0, "a whole number >= 1"),
        ("model.lora.lora_alpha", 0, "a number > 0"),
        ("model.lora.lora_dropout", 1.0, "a number >= 0 and < 1"),
        ("model.lora.lora_target_modules", [], "a list of text, not empty"),
        ("model.lora.lora_target_modules", "q_proj", "a list of text, not empty"),
        ("model.abstractor.num_query", 0, "a whole number >= 1"),
        ("model.abstractor.dropout", -0.1, "a number >= 0 and < 1"),
        ("train.epochs", 0, "a whole number >= 1"),
        ("train.epochs", 2.0, "a whole number >= 1"),
        ("train.warmup_rate", 1.5, "a number >= 0 and <= 1"),
        ("train.save_freq_step", 0, "a whole number >= 1 or null"),
        ("train.val_metric", "ratings", "single_distortion | multi_distortion | rating or null"),
        ("infer.temperature", -1, "a number >= 0"),
        ("infer.temperature", float("nan"), "a number >= 0"),
        ("infer.temperature", True, "a number >= 0"),
        ("infer.top_p", 7, "a number > 0 and <= 1"),
        ("infer.top_p", 0, "a number > 0 and <= 1"),
        ("infer.max_new_tokens", -3, "a whole number >= 1"),
        ("infer.max_broken", 1.01, "a number >= 0 and <= 1"),
        ("infer.output_prob_id", 1, "true or false"),
        ("vision_preprocess.patch_size", 0, "a whole number >= 1"),
        ("vision_preprocess.crop_ratio", None, "two numbers [low, high], 0 < low <= high <= 1"),
        ("vision_preprocess.crop_ratio", [3], "two numbers [low, high], 0 < low <= high <= 1"),
        ("vision_preprocess.crop_ratio", [0.9, 0.7], "two numbers [low, high], 0 < low <= high <= 1"),
        ("vision_preprocess.crop_ratio", [0, 1], "two numbers [low, high], 0 < low <= high <= 1"),
    ],
)
def test_a_value_out_of_range_is_refused(tmp_path, key, value, expected):
    path = write(tmp_path, MODEL)
    with pytest.raises(InputError) as error:
        load_config(path, {key: value})
    message = str(error.value)
    assert message.startswith(
        f"{path}: {key}: expected {expected} ("
    ) and f"), found {'null' if value is None else str(value).lower()[:5]}" in message.replace("'", "")


@pytest.mark.parametrize("entry", [["a.json", 0], ["a.json", 1.5], ["a.json", True], ["a.json"], [3, 1], "a.json"])
def test_the_entry_of_a_mixture_that_is_none_is_shown_with_its_place(tmp_path, entry):
    path = write(tmp_path, MODEL)
    with pytest.raises(InputError) as error:
        load_config(path, {"data.train.meta_paths_weights": [["b.json", 2], entry]})
    assert "data.train.meta_paths_weights[1]: expected [meta file, whole number >= 1] (" in str(error.value)
    assert str(error.value).endswith(f"found {entry!r}")


def test_sizes_are_in_order(tmp_path):
    with pytest.raises(InputError, match="vision_preprocess: expected min_size <= max_size, found 700 > 672"):
        load_config(write(tmp_path, MODEL + "vision_preprocess: {min_size: 700}\n"))


def test_a_whole_number_is_a_number(tmp_path):
    config = load_config(write(tmp_path, MODEL + "infer: {temperature: 1, top_p: 5e-1}\n"))
    assert (config.infer.temperature, config.infer.top_p) == (1.0, 0.5)


@pytest.mark.parametrize("port", [0, 65536, "'80'"])
def test_ports(tmp_path, port):
    with pytest.raises(InputError, match="worker.port: expected a whole number >= 1 and <= 65535 "):
        load_serve_config(write(tmp_path, f"worker: {{port: {port}}}\n", "serve.yaml"))


def test_absent_config(tmp_path):
    with pytest.raises(InputError, match="none.yaml: cannot be read"):
        load_config(tmp_path / "none.yaml")


def test_require_file_names_key_and_readme(tmp_path):
    config = load_config(write(tmp_path, MODEL))
    with pytest.raises(
        InputError, match=r"config.yaml: model.llm_path: .*llm does not exist \(README.md, section 'Models'"
    ):
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


def test_a_resolved_config_is_a_config(tmp_path, capsys, monkeypatch):
    """So `training_args.yaml` of a run, or what `python -m depictqa.config` prints, can be given as --cfg."""
    path = write(tmp_path, MODEL + "deepspeed: {optimizer: {type: Adam, params: {lr: 2e-4}}}\n")
    resolved = write(tmp_path / "elsewhere", show(capsys, monkeypatch, str(path)))
    assert load_config(resolved).model_dump() == load_config(path).model_dump()


def test_a_config_is_read_only(tmp_path):
    config = load_config(write(tmp_path, MODEL))
    with pytest.raises(ValueError, match="frozen"):
        config.train.epochs = 2


def test_a_path_that_cannot_be_read_is_no_traceback(tmp_path):
    config = load_config(write(tmp_path, MODEL + f"infer: {{sentence_model: {'x' * 300}}}\n"))
    with pytest.raises(InputError, match="infer.sentence_model: .*x cannot be read .File name too long"):
        require_file(config, "infer.sentence_model")


def test_a_key_that_is_none_is_said(tmp_path, capsys, monkeypatch):
    with pytest.raises(SystemExit):
        show(capsys, monkeypatch, str(write(tmp_path, MODEL)), "data.root")
    assert "config.yaml: no key 'data.root'" in capsys.readouterr().err
