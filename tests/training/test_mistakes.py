"""Mistakes in a config's training keys: one line that names file and key, before anything is written."""

import pytest

from depictqa.errors import InputError
from training.runs import make_run, train


@pytest.mark.slow
@pytest.mark.parametrize(
    "override, message",
    [
        ("deepspeed.optimizer={}", "deepspeed.optimizer.type is missing; expected Adam"),
        ("deepspeed.zero_optimization=3", "deepspeed.zero_optimization: expected keys and values, found 3"),
        ("deepspeed.optimizer.type=Adamm", "DeepSpeed rejects this: Adamm is not a supported"),
        ("deepspeed.optimizer.params.lrr=1", "DeepSpeed rejects this: .*unexpected keyword argument 'lrr'"),
        ("deepspeed.zero_optimization.stage=7", "DeepSpeed rejects this: .*stage Input should be 0, 1, 2, 3 or 3"),
        ("deepspeed.scheduler.type=Foo", "DeepSpeed rejects this: .*scheduler Foo"),
        ("deepspeed.train_batch_size=7", "DeepSpeed rejects this: Check batch related parameters"),
        ("train.keep_last=0", "train.keep_last: expected a whole number >= 1 .*, found 0"),
        ("train.save_dir=/dev/null/x", "train.save_dir: /dev/null/x cannot be written"),
        ("train.log_dir=/dev/null", "train.log_dir: /dev/null cannot be written"),
        ("train.val_freq_step=0", "train.val_freq_step: expected a whole number >= 1 .*, found 0"),
    ],
)
def test_it_is_named(tmp_path, override, message):
    config = make_run(tmp_path)
    with pytest.raises(InputError, match=message) as error:
        train(config, override, f"train.val_meta_paths=[{tmp_path / 'meta.json'}]")
    assert str(error.value).startswith(str(config))
    assert not list(tmp_path.glob("ckpt/*")) and not list(tmp_path.glob("log/*"))
