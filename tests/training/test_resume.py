"""What a run is continued under: the same weights below it, and a folder that all of its machines see."""

import json
import shutil

import pytest
import torch

from conftest import ARTIFACTS
from depictqa.errors import InputError
from training.runs import launch, make_items, make_run, metrics_of, output_of, start, torchrun, train
from training.test_program import free_port

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "stage, bf16, processes", [(1, True, 0), (2, False, 0), (3, False, 0), (1, False, 2), (3, True, 2)]
)
def test_a_run_goes_on_bit_for_bit_however_deepspeed_cuts_the_optimizer(tmp_path, stage, bf16, processes):
    """Taken back to a state of its own from the middle: curve and weights are what they were."""
    deepspeed = {"zero_optimization": {"stage": stage}, "bf16": {"enabled": bf16}, "gradient_accumulation_steps": 1}
    config = make_run(tmp_path, make_items(16), train={"save_freq_step": 2, "keep_last": 9}, deepspeed=deepspeed)
    launcher = torchrun(processes) if processes else ()
    launch(config, launcher=launcher)
    straight, weights = metrics_of(config), torch.load(tmp_path / "ckpt" / "ckpt.pt", weights_only=True)
    middle = tmp_path / "ckpt" / "state" / "step00000002"
    assert len(list(middle.glob("optimizer.rank*.pt"))) == max(1, processes)
    launch(config, f"--resume={middle}", launcher=launcher)
    assert "continues after step 2 of" in output_of(config)
    assert metrics_of(config) == straight and len(straight) > 2
    again = torch.load(tmp_path / "ckpt" / "ckpt.pt", weights_only=True)
    assert all(torch.equal(again[key], weights[key]) for key in weights)


def test_another_llm_in_the_same_place_is_noticed_and_the_same_one_elsewhere_is_not(tmp_path):
    config = make_run(tmp_path, make_items(4))
    llm = shutil.copytree(ARTIFACTS / "llm_tiny", tmp_path / "llm")
    train(config, f"model.llm_path={llm}")
    moved = shutil.copytree(llm, tmp_path / "moved", copy_function=shutil.copyfile)
    assert "this run is finished" in train(config, f"model.llm_path={moved}", resume="auto")
    shard = llm / "model.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1] + b"\x01")
    with pytest.raises(
        InputError, match=r"other settings: model.llm_path \(sha256 of its files\) was '\w{64}', is '\w{64}'"
    ):
        train(config, f"model.llm_path={llm}", resume="auto")


def test_a_state_of_an_earlier_release_does_not_say_which_weights_it_had(tmp_path):
    config = make_run(tmp_path, make_items(4))
    train(config)
    (path,) = (tmp_path / "ckpt" / "state").glob("*/manifest.json")
    manifest = json.loads(path.read_text(encoding="utf-8"))
    del manifest["broken"]
    manifest["settings"] = {
        key: value for key, value in manifest["settings"].items() if not key.startswith("model.llm_path")
    }
    path.write_text(json.dumps(manifest), encoding="utf-8")
    assert "this run is finished" in train(config, resume="auto")


def test_machines_that_share_no_save_dir_are_told_so_at_the_start(tmp_path):
    """Two torchruns of one process each, as on two machines; each names a folder of its own."""
    config, port = make_run(tmp_path, make_items(8)), free_port()
    folders = [tmp_path / name for name in ("here", "there")]
    for folder in folders:
        folder.mkdir()
    nodes = [
        start(
            config,
            f"--set=train.save_dir={folder}",
            launcher=torchrun(1, "--nnodes=2", f"--node_rank={rank}", f"--master_port={port}"),
            output="output" if rank == 0 else "other",
        )
        for rank, folder in enumerate(folders)
    ]
    assert all(node.wait(timeout=200) for node in nodes)
    message = f"error: {config}: train.save_dir: {folders[0]} on "
    (line,) = [line for line in output_of(config).splitlines() if line.startswith("error: ")]
    assert line.startswith(message) and line.endswith("name a folder on a disk that all machines share")
    assert not [path for folder in folders for path in folder.iterdir()]
    assert not (tmp_path / "log" / "metrics.jsonl").exists()
