"""The shell scripts of the experiments: all there, plain POSIX, and they run what their names say.

A stand-in for Python prints what it was asked to run; nothing here needs weights or data.
"""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from processes import GIVE_UP_SECONDS

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
PUBLISHED = ["DQ495K", "DQ495K_Abstractor", "DQ495K_QInst", "DQ495K_QPath", "MBAPPS"]
BASE = sorted(path.name for path in (EXPERIMENTS / "_base_").glob("*.sh") if path.name not in ("env.sh", "score.sh"))
MBAPPS_FORM = {f"{what}_{kind}_rating.sh" for what in ("infer", "eval") for kind in ("AB", "refAB")}
OWN = {"MBAPPS": MBAPPS_FORM}  # other data than in _base_
NANO_LACKS = {"infer_A_real.sh", "infer_srcc_plcc_voting.sh", "eval_srcc_plcc_voting.sh"} | {
    name for name in BASE if name.endswith("_mbapps.sh")
}  # data that Nano's own has no like of
EVAL = {name for name in BASE if name.startswith("eval_")}
INFER = {name for name in BASE if name.startswith("infer_")} - {"infer_custom.sh"}
SHELLS = [shell for shell in ("sh", "dash", "bash") if shutil.which(shell)]

FAKE_PYTHON = """#!/bin/sh
if [ "$2" = depictqa.config ]; then echo "/my data/$4"; exit; fi  # what score.sh asks before
echo "devices: ${CUDA_VISIBLE_DEVICES-unset}"
echo "folder: $(pwd)"
for argument; do echo "argument: $argument"; done
"""


@pytest.fixture
def fake_python(tmp_path):
    path = tmp_path / "fake python"
    path.write_text(FAKE_PYTHON)
    path.chmod(0o755)
    return path


def run(script: Path, *arguments: str, python: Path, shell: str = "sh", **environment: str):
    """Run a script from another folder than its own; returns the finished process."""
    inherited = {
        key: value for key, value in os.environ.items() if key not in ("CUDA_VISIBLE_DEVICES", "HOSTFILE", "NODES")
    }
    return subprocess.run(
        [shell, script, *arguments],
        cwd="/",
        env=inherited | {"PYTHON": str(python)} | environment,
        capture_output=True,
        text=True,
        timeout=GIVE_UP_SECONDS,
    )


def printed(process, key: str) -> list[str]:
    assert process.returncode == 0, process.stderr
    start = f"{key}: "
    return [line.removeprefix(start) for line in process.stdout.splitlines() if line.startswith(start)]


def option(arguments: list[str], name: str) -> list[str]:
    """The values after `name`, up to the next option."""
    values = arguments[arguments.index(name) + 1 :]
    stop = next((i for i, value in enumerate(values) if value.startswith("--")), len(values))
    return values[:stop]


@pytest.mark.parametrize("shell", SHELLS)
def test_every_script_parses(shell):
    for script in EXPERIMENTS.glob("*/*.sh"):
        subprocess.run([shell, "-n", script], check=True)


@pytest.mark.parametrize("experiment", [*PUBLISHED, "Nano"])
def test_every_experiment_has_every_script(experiment):
    scripts = {path.name for path in (EXPERIMENTS / experiment).glob("*.sh")}
    assert (
        scripts == (set(BASE) - NANO_LACKS) | {"make.sh", "evaluate.sh"}
        if experiment == "Nano"
        else scripts == set(BASE)
    )


@pytest.mark.parametrize("experiment", PUBLISHED)
def test_scripts_of_an_experiment_are_those_of_the_base(experiment):
    for name in set(BASE) - OWN.get(experiment, set()):
        text = (EXPERIMENTS / experiment / name).read_text()
        assert text == f'#!/bin/sh\ncd "$(dirname "$0")" && exec sh ../_base_/{name} "$@"\n'


@pytest.mark.parametrize("experiment", [*PUBLISHED, "Nano"])
@pytest.mark.parametrize("shell", SHELLS)
def test_gpu_id_comes_first_and_options_are_passed_on(experiment, shell, fake_python):
    script = EXPERIMENTS / experiment / "infer_A_brief.sh"
    process = run(script, "3", "--batch_size", "4 4", python=fake_python, shell=shell)
    assert printed(process, "devices") == ["3"]
    assert printed(process, "folder") == [str(EXPERIMENTS / experiment)]
    arguments = printed(process, "argument")
    assert arguments[:3] == ["../../src/infer.py", "--cfg", "config.yaml"]
    assert arguments[-2:] == ["--batch_size", "4 4"]


@pytest.mark.parametrize(
    "given, expected",
    [
        ([], "unset"),
        ([""], "unset"),  # an empty CUDA_VISIBLE_DEVICES would hide every GPU
        (["--batch_size", "2"], "unset"),
        (["0"], "0"),
        (["0,1"], "0,1"),
        (["GPU-8932f937-d72c-4106-c12f-20bd9faed9f6"], "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6"),
    ],
)
@pytest.mark.parametrize("shell", SHELLS)
def test_devices_are_chosen_only_when_given(given, expected, shell, fake_python):
    for name in ("infer_A_brief.sh", "launch_worker.sh"):
        process = run(EXPERIMENTS / "DQ495K" / name, *given, python=fake_python, shell=shell)
        assert printed(process, "devices") == [expected]
        assert "" not in printed(process, "argument")
    process = run(EXPERIMENTS / "DQ495K/infer_A_brief.sh", *given, python=fake_python, CUDA_VISIBLE_DEVICES="5")
    assert printed(process, "devices") == [expected.replace("unset", "5")]


def launched(*given: str, python: Path, shell: str = "sh", **environment: str) -> list[str]:
    """What stands before the program in the command of an inference script."""
    script = EXPERIMENTS / "DQ495K/infer_A_brief.sh"
    arguments = printed(run(script, *given, python=python, shell=shell, **environment), "argument")
    return arguments[: arguments.index("../../src/infer.py")]


@pytest.mark.parametrize("shell", SHELLS)
def test_inference_runs_a_process_for_each_device(shell, fake_python):
    torchrun = ["-m", "torch.distributed.run", "--nproc_per_node"]
    assert launched("0", python=fake_python, shell=shell) == launched(python=fake_python, shell=shell) == []
    assert launched("0,1,2,3", python=fake_python, shell=shell) == [*torchrun, "4", "--standalone"]
    meeting = ["--nnodes", "2", "--rdzv_backend", "c10d", "--rdzv_endpoint", "one:29400"]
    machines = {"NODES": "2", "RDZV": "one:29400"}
    assert launched("0,1", python=fake_python, shell=shell, **machines) == [*torchrun, "2", *meeting]
    assert launched("0", python=fake_python, shell=shell, **machines) == [*torchrun, "1", *meeting]
    assert launched(python=fake_python, shell=shell, **machines) == [*torchrun, "1", *meeting]


def test_several_machines_need_a_place_to_meet(fake_python):
    process = run(EXPERIMENTS / "DQ495K/infer_A_brief.sh", "0,1", python=fake_python, NODES="2")
    assert (process.returncode, process.stderr) == (2, "error: NODES needs RDZV, the host:port of one of them\n")


TASKS = {
    "infer_A_": "quality_single_A_noref",
    "infer_refA_": "quality_single_A",
    "infer_AB_": "quality_compare_noref",
    "infer_refAB_": "quality_compare",
    "infer_srcc_": "quality_compare",
}
DATASETS = {
    "infer_A_brief.sh": ["kadis_A_sd_brief", "kadis_A_md_brief"],
    "infer_refA_brief.sh": ["kadis_refA_sd_brief", "kadis_refA_md_brief"],
    "infer_AB_rating.sh": ["bapps_AB", "kadid_AB", "pipal_AB", "tid_AB", "livemd_AB", "mdid_AB"],
    "infer_refAB_rating.sh": [f"{name}_refAB" for name in ("bapps", "kadid", "pipal", "tid", "livemd", "mdid")],
    "infer_A_real.sh": ["A_web_detail"],
    "infer_srcc_plcc_voting.sh": [f"{name}_srcc_plcc_voting" for name in ("kadid", "csiq", "tid")],
}


@pytest.mark.parametrize("name", sorted(INFER))
def test_benchmark_scripts_ask_the_published_questions(name, fake_python):
    arguments = printed(run(EXPERIMENTS / "DQ495K" / name, python=fake_python), "argument")
    (task,) = option(arguments, "--task_name")
    assert task == next(task for start, task in TASKS.items() if name.startswith(start))
    metas, datasets = option(arguments, "--meta_path"), option(arguments, "--dataset_name")
    assert len(metas) == len(datasets) == len(set(metas)) == len(set(datasets))
    assert datasets == DATASETS.get(name, datasets)
    assert option(arguments, "--batch_size") == ["1" if name == "infer_A_real.sh" else "16"]


@pytest.mark.slow
@pytest.mark.parametrize("key", ["model.vision_encoder_path", "model.llm_path", "model.delta_path"])
def test_inference_without_weights_says_which_file_is_missing(key, tmp_path):
    weights = {"vision_encoder_path": "clip.pt", "llm_path": "llm", "delta_path": "delta.pt"}
    absent = weights.pop(key.removeprefix("model."))
    for name in weights.values():
        (tmp_path / name).touch()
    overrides = [f"model.{name}={tmp_path / file}" for name, file in weights.items()]
    overrides += [f"{key}={tmp_path / absent}"]
    process = run(EXPERIMENTS / "DQ495K/infer_A_brief.sh", "--set", *overrides, python=sys.executable)
    assert process.returncode == 2
    config = EXPERIMENTS / "DQ495K/config.yaml"
    expected = (
        f"error: {config}: {key}: {tmp_path / absent} does not exist (README.md, section 'Models', says how to get it)"
    )
    assert process.stderr.splitlines() == [expected]


@pytest.mark.parametrize("name", sorted(MBAPPS_FORM))
def test_mbapps_rates_its_own_form_of_bapps(name, fake_python):
    published, mbapps = (
        printed(run(EXPERIMENTS / experiment / name, python=fake_python), "argument")
        for experiment in ("DQ495K", "MBAPPS")
    )
    assert mbapps == [argument.replace("bapps_9.4k", "bapps_9.4k_s64") for argument in published]


@pytest.mark.parametrize("name", sorted(INFER - NANO_LACKS))
def test_nano_asks_the_tasks_of_the_benchmarks_about_its_own_pictures(name, fake_python):
    published, nano = (
        printed(run(EXPERIMENTS / experiment / name, python=fake_python), "argument")
        for experiment in ("DQ495K", "Nano")
    )
    assert option(nano, "--task_name") == option(published, "--task_name")
    part = name.removeprefix("infer_").removesuffix(".sh")
    assert option(nano, "--meta_path") == [f"test/metas/{part}.json"]
    assert option(nano, "--dataset_name") == [f"nano_{part}"]


DATA, ANSWERS = "/my data/data.root_dir", "/my data/infer.answer_dir"  # as the stand-in gives them


def asked_and_scored(folder: Path, kind: str, python: Path) -> tuple[list, list]:
    """(answers file, meta) of each data set that infer_KIND.sh asks and that eval_KIND.sh scores."""
    asked = printed(run(folder / f"infer_{kind}.sh", python=python), "argument")
    (task,) = option(asked, "--task_name")
    metas = [f"{DATA}/{meta}" for meta in option(asked, "--meta_path")]
    answers = [f"{ANSWERS}/{task}_{name}.json" for name in option(asked, "--dataset_name")]
    scored = printed(run(folder / f"eval_{kind}.sh", python=python), "argument")
    pairs = [(scored[i + 1], scored[i + 3]) for i, value in enumerate(scored) if value == "--pred_path"]
    return list(zip(answers, metas)), pairs


@pytest.mark.parametrize("experiment", ["DQ495K", "MBAPPS", "Nano"])
@pytest.mark.parametrize("name", sorted(EVAL - {"eval_srcc_plcc_voting.sh"}))
def test_scores_are_those_of_the_answers_of_the_inference_script(name, experiment, fake_python):
    if experiment == "Nano" and name in NANO_LACKS:
        return
    asked, scored = asked_and_scored(
        EXPERIMENTS / experiment, name.removeprefix("eval_").removesuffix(".sh"), fake_python
    )
    assert scored == asked


PROGRAMS = {"brief": ["cal_acc_single_distortion", "cal_acc_multi_distortion"], "rating": ["cal_acc_rating"] * 6}


@pytest.mark.parametrize("name", sorted(EVAL - {"eval_srcc_plcc_voting.sh"}))
def test_each_kind_of_answer_has_its_figure(name, fake_python):
    arguments = printed(run(EXPERIMENTS / "DQ495K" / name, "--json", "my out.json", python=fake_python), "argument")
    programs = [Path(one).stem for one in arguments if one.startswith("../../src/eval/")]
    judged = ["cal_gpt4_score_detail_v1"] * len(programs)
    assert programs == next((value for kind, value in PROGRAMS.items() if kind in name), judged)
    assert arguments.count("my out.json") == len(programs)


def test_the_judge_saves_beside_the_answers_by_version(fake_python):
    for environment, version in ({}, "v1"), ({"VERSION": "v2"}, "v2"):
        process = run(EXPERIMENTS / "Nano/eval_A_detail.sh", "--max_cost", "5", python=fake_python, **environment)
        arguments = printed(process, "argument")
        assert arguments[0] == f"../../src/eval/cal_gpt4_score_detail_{version}.py"
        answers = f"{ANSWERS}/quality_single_A_noref_nano_A_detail"
        assert arguments[-4:] == ["--save_path", f"{answers}_judge_{version}.json", "--max_cost", "5"]


@pytest.mark.slow
def test_answers_that_lack_are_said_and_do_not_stop_the_others(tmp_path):
    (tmp_path / "answers").mkdir()
    (tmp_path / "data/KADIS700K/A_md_brief/metas").mkdir(parents=True)
    name, meta = "quality_single_A_noref_kadis_A_md_brief.json", "A_md_brief/metas/test_A_md_single_3k_exclude.json"
    (tmp_path / "answers" / name).write_text('[{"id": 1, "text": "Noise and blur", "confidence": null}]')
    (tmp_path / "data/KADIS700K" / meta).write_text('[{"id": 1, "answer": "Blur and noise"}]')
    folders = {"DATA": str(tmp_path / "data"), "ANSWERS": str(tmp_path / "answers")}
    process = run(EXPERIMENTS / "DQ495K/eval_A_brief.sh", python=sys.executable, **folders)
    assert process.returncode == 2
    missing, hint = process.stderr.splitlines()  # one has its answers, the other has not
    assert "kadis_A_sd_brief.json" in missing and hint == "'sh infer_A_brief.sh' writes these answers"
    assert process.stdout.splitlines()[-1] == "Average Accuracy: 1.0"


def test_voting_is_evaluated_on_the_answers_of_its_inference_script(fake_python):
    folder = EXPERIMENTS / "MBAPPS"
    asked = printed(run(folder / "infer_srcc_plcc_voting.sh", python=fake_python), "argument")
    judged = printed(run(folder / "eval_srcc_plcc_voting.sh", python=fake_python), "argument")
    names = option(asked, "--dataset_name")
    assert option(judged, "--pred_paths") == [f"{ANSWERS}/quality_compare_{name}.json" for name in names]
    assert option(judged, "--test_paths") == [f"{DATA}/{path}" for path in option(asked, "--meta_path")]
    assert len(option(judged, "--gt_paths")) == 3


def test_custom_data(fake_python):
    script = EXPERIMENTS / "Nano/infer_custom.sh"
    process = run(script, "1", "my metas.json", "mine", "quality_compare", "--batch_size", "2", python=fake_python)
    assert printed(process, "devices") == ["1"]
    arguments = printed(process, "argument")
    assert option(arguments, "--meta_path") == ["my metas.json"]
    assert option(arguments, "--dataset_name") == ["mine"]
    assert option(arguments, "--task_name") == ["quality_compare"]
    assert option(arguments, "--batch_size") == ["2"]
    process = run(script, "my.json", python=fake_python)
    assert process.returncode == 2
    assert process.stderr == "usage: sh infer_custom.sh [GPU] META NAME TASK [options of infer.py]\n"


def test_training_without_gpus_or_with_one_is_plain_python(fake_python):
    for given, devices in ([], "unset"), (["2"], "2"):
        process = run(EXPERIMENTS / "DQ495K/train.sh", *given, "--set", "train.epochs=2", python=fake_python)
        assert printed(process, "devices") == [devices]
        expected = ["../../src/train.py", "--cfg", "config.yaml", "--set", "train.epochs=2"]
        assert printed(process, "argument") == expected


def test_training_on_several_gpus_uses_the_launcher(fake_python):
    process = run(EXPERIMENTS / "DQ495K/train.sh", "0,1,2,3", "--resume", "auto", python=fake_python)
    assert printed(process, "devices")[-1] == "unset"  # the launcher would ignore its own --include
    arguments = printed(process, "argument")
    assert arguments[arguments.index("-m") + 1] == "deepspeed.launcher.runner"
    assert option(arguments, "--include")[0] == "localhost:0,1,2,3"
    assert arguments[-5:] == ["../../src/train.py", "--cfg", "config.yaml", "--resume", "auto"]


def test_training_on_gpus_that_are_not_there_says_so(tmp_path):
    no_gpu = tmp_path / "python"
    no_gpu.write_text("#!/bin/sh\nexit 1\n")
    no_gpu.chmod(0o755)
    process = run(EXPERIMENTS / "DQ495K/train.sh", "0,1", python=no_gpu)
    assert process.returncode == 2
    assert process.stderr == "error: GPUs 0,1 asked for, but PyTorch sees none; 'sh train.sh' trains on the CPU\n"


def test_training_on_several_machines(fake_python, tmp_path):
    script, hosts = EXPERIMENTS / "DQ495K/train.sh", tmp_path / "my hosts"
    process = run(script, python=fake_python, HOSTFILE=str(hosts))
    assert process.returncode == 2
    assert process.stderr == f"error: HOSTFILE: {hosts} does not exist\n"
    hosts.write_text("one slots=8\ntwo slots=8\n")
    for name in ("sh", "dirname"):
        (tmp_path / name).symlink_to(shutil.which(name))
    process = run(script, python=fake_python, HOSTFILE=str(hosts), PATH=str(tmp_path))
    assert process.returncode == 2
    assert process.stderr == "error: HOSTFILE: pdsh is not installed, by which DeepSpeed starts the other machines\n"
    (tmp_path / "pdsh").symlink_to(shutil.which("true"))
    with_pdsh = f"{tmp_path}:{os.environ['PATH']}"
    arguments = printed(run(script, python=fake_python, HOSTFILE=str(hosts), PATH=with_pdsh), "argument")
    assert option(arguments, "--hostfile")[0] == str(hosts)
    process = run(script, "0,1", python=fake_python, HOSTFILE=str(hosts))
    assert process.stderr == "error: give GPU ids or HOSTFILE, not both\n"


def test_launch_scripts(fake_python):
    for part, module in ("controller", "controller"), ("gradio", "web"), ("worker", "worker"):
        process = run(EXPERIMENTS / "Nano" / f"launch_{part}.sh", python=fake_python)
        arguments = printed(process, "argument")
        assert arguments[:2] == ["-m", f"depictqa.serve.{module}"]
        assert option(arguments, "--serve_cfg" if part == "worker" else "--cfg") == ["serve.yaml"]


def test_a_script_of_the_base_wants_an_experiment_around_it(fake_python, tmp_path):
    (tmp_path / "_base_").mkdir()
    (tmp_path / "_base_/env.sh").write_text((EXPERIMENTS / "_base_/env.sh").read_text())
    (tmp_path / "mine").mkdir()
    process = subprocess.run(
        ["sh", EXPERIMENTS / "_base_/train.sh"], cwd=tmp_path / "mine", capture_output=True, text=True
    )
    assert process.returncode == 2
    assert process.stderr == f"error: no config.yaml in {tmp_path}/mine; run this in an experiment's folder\n"


PART = """#!/bin/sh
trap 'echo "ended: $2"; exit 0' TERM
echo "started: $2"
if [ "$2" = "depictqa.serve.$SIGNALS" ]; then kill -TERM $PPID; fi
: > "$0.$2"
while :; do
    if [ "$2" = "depictqa.serve.$FAILS" ] && [ -e "$0.depictqa.serve.web" ]; then exit 2; fi
    sleep 0.1 & wait $!
done
"""
PARTS = {f"depictqa.serve.{part}" for part in ("controller", "worker", "web")}


def heed_signals() -> None:
    """In the background, or under nohup, tests inherit signals that are ignored, and so would the demo."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def start_demo(tmp_path, shell: str, fails: str = "", signals: str = "") -> subprocess.Popen:
    """Three scripts in place of the parts: `fails` names one that ends when all have started, `signals` one that asks the
    demo to end the moment it starts."""
    part = tmp_path / "part"
    part.write_text(PART)
    part.chmod(0o755)
    return subprocess.Popen(
        [shell, EXPERIMENTS / "_base_/launch_demo.sh"],
        cwd=EXPERIMENTS / "Nano",
        env=os.environ | {"PYTHON": str(part), "FAILS": fails, "SIGNALS": signals},
        preexec_fn=heed_signals,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(lines: str) -> set[str]:
    return {line.removeprefix("ended: ") for line in lines.splitlines() if line.startswith("ended: ")}


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("name, status", [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 143)])
def test_demo_shuts_down_cleanly(shell, name, status, tmp_path):
    demo = start_demo(tmp_path, shell)
    started = {demo.stdout.readline().removeprefix("started: ").strip() for _ in PARTS}
    assert started == PARTS
    demo.send_signal(getattr(signal, name))
    out, _ = demo.communicate(timeout=GIVE_UP_SECONDS)
    assert demo.returncode == status
    assert ended(out) == PARTS


@pytest.mark.parametrize("part", ["controller", "worker", "web"])
def test_demo_misses_no_part_when_it_is_stopped_while_it_starts(part, tmp_path):
    (demo := start_demo(tmp_path, "sh", signals=part)).communicate(timeout=GIVE_UP_SECONDS)
    assert demo.returncode == 143  # and `out` has ended, which an endless part would keep open


def test_demo_stops_when_a_part_has_ended(tmp_path):
    out, err = (demo := start_demo(tmp_path, "sh", fails="worker")).communicate(timeout=GIVE_UP_SECONDS)
    assert demo.returncode == 2  # as the worker's
    assert err == "error: the worker has ended (see its messages above); stopping the demo\n"
    assert ended(out) == PARTS - {"depictqa.serve.worker"}
