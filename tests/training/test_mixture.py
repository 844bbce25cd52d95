"""Training metas: order and repetition as published, every mistake named before a model is loaded."""

import json
import os
import random
import signal

import pytest

from conftest import DATA, golden
from depictqa.data.images import open_image
from depictqa.data.loading import loaders_that_live
from depictqa.data.opinions import Opinion
from depictqa.data.preprocess import ImagePreprocessor
from depictqa.data.training import MicroBatches, TrainingSet, collate, load_batches, read_mixture
from depictqa.errors import InputError
from training.runs import PICTURES, make_items

TURNS = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]
PREPROCESS = ImagePreprocessor(patch_size=14, resize=224, max_size=672, crop_ratio=(0.7, 1.0))


def read(folder, items, check_images=False):
    (folder / "meta.json").write_text(json.dumps(items), encoding="utf-8")
    return read_mixture([[str(folder / "meta.json"), 1]], DATA / "images", "config.yaml: metas", check_images)


def test_weights_repeat_metas_in_order_and_extra_images_are_ignored(tmp_path):
    case = golden("training/training.json")["dataset"]
    for name, items in case["meta_files"].items():
        mended = [item | {"conversations": TURNS} for item in items]
        (tmp_path / f"{name}.json").write_text(json.dumps(mended), encoding="utf-8")
    items = read_mixture(case["meta_paths_weights"], tmp_path, "config.yaml: metas", check_images=False)
    assert [int(item.id.split("#")[1]) for item in items] == case["order_of_ids"]
    fields = {"image_ref": "img_path", "image": "img_path", "image_A": "img_A_path", "image_B": "img_B_path"}
    for item, expected in zip(items, case["items"], strict=True):
        assert item.task.name == expected["task_type"]
        paths = [expected[fields[field]].replace("<root_dir>", str(tmp_path)) for field in item.task.fields]
        assert list(item.image_paths) == paths


def test_an_image_that_the_task_does_not_need_is_no_mistake(tmp_path):
    item = make_items(2)[1]
    assert item["image_B"] and item["task_type"] == "quality_single_A_noref"
    (read_item,) = read(tmp_path, [item])
    assert [path.rsplit("/", 1)[1] for path in read_item.image_paths] == [item["image_A"]]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"task_type": "quality"}, "unknown task 'quality'; expected one of quality_single_A,"),
        ({"task_type": None}, "unknown task 'None'"),
        ({"image_ref": None}, "task quality_compare takes image_ref, image_A, image_B; image_ref absent"),
        ({"image_A": 7}, "image_A: expected a path, found 7"),
        ({"conversations": []}, "'conversations' is missing or empty"),
        ({"conversations": TURNS[::-1]}, "turn 0: expected 'from: human', found 'gpt'"),
        ({"conversations": TURNS[:1]}, "the answer ('from: gpt') to the last question is missing"),
        ({"conversations": [TURNS[0], {"from": "gpt", "value": " "}]}, "turn 1: 'value' is missing or empty"),
        ({"conversations": ["q", "a"]}, "turn 0: expected 'from: human', found None"),
    ],
)
def test_a_broken_item_is_named(tmp_path, change, message):
    with pytest.raises(InputError) as error:
        read(tmp_path, [*make_items(3), make_items(1)[0] | {"id": "odd"} | change])
    assert "1 items cannot be trained on: " in str(error.value) and "/meta.json, item odd: " in str(error.value)
    assert message in str(error.value)


SCORED = {
    "image_A": PICTURES[0],
    "task_type": "quality_score_A_noref",
    "conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "good"}],
    "score": {"mean": 75.0, "std": 10, "min": 0, "max": 100},
    "dataset": "koniq",
}


def test_a_scored_item_carries_its_opinion_to_the_conversation(tmp_path):
    (item,) = read(tmp_path, [SCORED])
    assert item.opinion == Opinion(mean=4.0, std=0.4, dataset="koniq")
    assert TrainingSet([item], PREPROCESS, seed=None)[0, 0].conversation.opinion is item.opinion


@pytest.mark.parametrize(
    "change, message",
    [
        ({"conversations": TURNS}, "takes one question, answered by one of excellent, good, fair, poor, bad"),
        ({"conversations": SCORED["conversations"] * 2}, "task quality_score_A_noref takes one question, answered by"),
        ({"score": None}, "score: expected {mean, std, min, max}, found None"),
        ({"dataset": None}, "dataset: expected the name of the data set"),
        ({"task_type": "quality_score_A"}, "task quality_score_A takes image_ref, image_A; image_ref absent"),
    ],
)
def test_a_broken_scored_item_is_named(tmp_path, change, message):
    with pytest.raises(InputError) as error:
        read(tmp_path, [SCORED | {"id": "odd"} | change])
    assert "/meta.json, item odd: " in str(error.value) and message in str(error.value)


def test_ten_mistakes_are_shown_of_many(tmp_path):
    with pytest.raises(InputError) as error:
        read(tmp_path, [item | {"task_type": "x"} for item in make_items()])
    assert "18 items cannot be trained on" in str(error.value) and str(error.value).count("unknown task") == 10


def test_missing_pictures_and_metas_are_named(tmp_path):
    with pytest.raises(InputError, match=r"2 images do not exist: .*no1.png, .*no2.png"):
        read(
            tmp_path,
            [*make_items(2), make_items(3)[2] | {"image": "no1.png"}, make_items(3)[2] | {"image": "no2.png"}],
            True,
        )
    with pytest.raises(InputError, match="1 meta files do not exist: .*none.json"):
        read_mixture([["none.json", 1]], tmp_path, "config.yaml: metas")
    with pytest.raises(InputError, match="expected \\[meta file, times it is repeated\\], found 'none.json'"):
        read_mixture(["none.json"], tmp_path, "config.yaml: metas")
    with pytest.raises(InputError, match="no items to train on"):
        read_mixture([], tmp_path, "config.yaml: metas")


def micro_batches(lengths, size, rank=0, world=1, seed=5, start=0, stop=None, accumulation=1, window=1) -> MicroBatches:
    stop = len(lengths) // (size * world) if stop is None else stop
    return MicroBatches(lengths, size, accumulation, rank, world, seed, start, stop, window)


@pytest.mark.parametrize("case", [case for case in golden("training/training.json")["sampler"] if case["drop_last"]])
def test_ranks_share_a_global_batch_as_published(case, monkeypatch):
    monkeypatch.setattr(MicroBatches, "order", lambda self, epoch: list(range(len(self.lengths))))
    size = case["global_batch"] // case["world_size"]
    for rank, expected in enumerate(case["per_rank"]):
        batches = micro_batches([7] * case["n"], size, rank, case["world_size"])
        assert [[index for _, index in batch] for batch in batches] == expected


def test_every_epoch_is_another_order_of_all_samples_and_can_be_entered_anywhere():
    whole = list(micro_batches([7] * 9, 3, stop=6))
    epochs = [[index for batch in whole[start : start + 3] for _, index in batch] for start in (0, 3)]
    assert epochs[0] != epochs[1]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(9))
    assert list(micro_batches([7] * 9, 3, start=4, stop=6)) == whole[4:]
    assert list(micro_batches([7] * 9, 3, stop=6, seed=6)) != whole


def test_samples_of_an_update_are_dealt_longest_first_and_stay_in_it():
    """Five micro batches an epoch, three an update: the second update begins in one epoch and ends in the next."""
    lengths = [(7 * index) % 11 for index in range(20)]
    plain = list(micro_batches([1] * 20, 2, world=2, stop=10, accumulation=3))
    for first in (0, 3, 6):
        dealt = [
            list(micro_batches(lengths, 2, rank, 2, stop=10, accumulation=3))[first : first + 3] for rank in range(2)
        ]
        undealt = [
            list(micro_batches([1] * 20, 2, rank, 2, stop=10, accumulation=3))[first : first + 3] for rank in range(2)
        ]
        flat, expected = ([key for rank in ranks for batch in rank for key in batch] for ranks in (dealt, undealt))
        assert sorted(flat) == sorted(expected)
        for epoch in (0, 1):
            in_order = [
                lengths[index] for batches in zip(*dealt, strict=True) for b in batches for e, index in b if e == epoch
            ]
            assert in_order == sorted(in_order, reverse=True)
    assert (
        list(micro_batches(lengths, 2, world=2, start=4, stop=10, accumulation=3))
        == list(micro_batches(lengths, 2, world=2, stop=10, accumulation=3))[4:]
    )
    assert plain[0] == [(0, index) for index in micro_batches([1] * 20, 2, world=2).order(0)[:2]]


def test_a_window_of_updates_shares_its_samples_by_length():
    """Forty samples an epoch: two windows of two updates of two micro batches of two samples on each of two ranks, one
    window of one update, which the next epoch fills up."""
    lengths = [(7 * index) % 41 for index in range(40)]
    options = {"size": 2, "world": 2, "accumulation": 2, "stop": 20}
    ranks = [list(micro_batches(lengths, rank=rank, window=2, **options)) for rank in range(2)]
    plain = [list(micro_batches(lengths, rank=rank, **options)) for rank in range(2)]
    padding = {}
    for name, dealt in {"window": ranks, "plain": plain}.items():
        batches = [[lengths[index] for _, index in batch] for rank in dealt for batch in rank]
        padding[name] = sum(len(batch) * max(batch) - sum(batch) for batch in batches)
    assert padding["window"] <= 2 / 3 * padding["plain"]
    for first in range(0, 20, 4):  # micro batches of a window
        shared, own = (
            [sample for rank in dealt for b in rank[first : first + 4] for sample in b] for dealt in (ranks, plain)
        )
        assert sorted(shared) == sorted(own)
    for first in range(0, 20, 2):  # of an update, the longest comes first
        long, short = ([lengths[index] for rank in ranks for _, index in rank[n]] for n in (first, first + 1))
        if first != 10:  # in which one epoch ends and the next begins
            assert min(long) >= max(short)
    assert list(micro_batches(lengths, window=2, start=7, **options)) == ranks[0][7:]
    order = [lengths[index] for index in micro_batches(lengths, window=10, **options).dealt(0)]
    assert order != sorted(order, reverse=True), "an update is not all long or all short"


def test_crops_depend_on_seed_epoch_and_index_only(tmp_path):
    data = TrainingSet(read(tmp_path, make_items(4)), PREPROCESS, seed=3)
    path = data.items[2].image_paths[0]
    sample, again, later = data[0, 2], data[0, 2], data[1, 2]
    assert (sample.index, sample.id, sample.broken) == (2, "meta.json#2", None)
    assert (sample.conversation.images[0] == PREPROCESS(open_image(path), random.Random("3 0 2"))).all()
    assert (sample.conversation.images[0] == again.conversation.images[0]).all()
    drawn = [data[epoch, 3].conversation.images[1].shape for epoch in range(20)]
    assert len(set(drawn)) > 1 and later.conversation.turns == sample.conversation.turns


def with_a_broken_one(folder) -> TrainingSet:
    """Three samples; a picture of the first, which has three, is cut short."""
    (folder / "cut.png").write_bytes(b"\x89PNG")
    first, *others = make_items(3)
    return TrainingSet(read(folder, [first | {"image_A": str(folder / "cut.png")}, *others]), PREPROCESS, seed=3)


def test_a_broken_picture_leaves_its_sample_out_and_says_why(tmp_path):
    data = with_a_broken_one(tmp_path)
    (batch,) = load_batches(data, [[(4, 0), (4, 1), (4, 2)]], num_workers=0, pin_memory=False)
    assert (batch.ids, batch.indices) == (["meta.json#1", "meta.json#2"], [1, 2])
    assert [conversation.turns for conversation in batch.conversations] == [item.turns for item in data.items[1:]]
    (broken,) = batch.broken
    assert (broken.index, broken.epoch, broken.id) == (0, 5, "meta.json#0")
    assert broken.file == str(tmp_path / "cut.png") and broken.reason.startswith("not a readable image")
    assert data.broken_among([2, 0]) == [0]
    (tmp_path / "cut.png").write_bytes((DATA / "images" / PICTURES[0]).read_bytes())
    assert data.broken_among([2, 0]) == []


def test_black_pictures_stand_in_for_a_batch_that_is_broken_as_a_whole(tmp_path):
    data = with_a_broken_one(tmp_path)
    batch = collate([data[0, 0], data[1, 0]])
    assert (batch.ids, batch.indices, len(batch.broken)) == ([], [], 2)
    (stand_in,) = batch.conversations
    assert (stand_in.task, stand_in.turns) == (data.items[0].task, data.items[0].turns)
    assert [image.shape for image in stand_in.images] == [(3, 70, 70)] * 3
    assert not any(image.any() for image in stand_in.images)


def test_a_share_of_pictures_may_be_missing_where_asked_for(tmp_path, capsys):
    items = [*make_items(3), make_items(3)[2] | {"image": "no1.png"}]
    (tmp_path / "meta.json").write_text(json.dumps(items), encoding="utf-8")
    metas = [[str(tmp_path / "meta.json"), 2]]
    with pytest.raises(InputError, match="1 images do not exist: .*no1.png"):
        read_mixture(metas, DATA / "images", "config.yaml: metas", max_missing=0.24)
    assert len(read_mixture(metas, DATA / "images", "config.yaml: metas", max_missing=0.25)) == 8
    assert "config.yaml: metas: 2 of 8 samples are left out, 1 images do not exist: " in capsys.readouterr().out


class KilledWhileItReads(TrainingSet):
    def __getitem__(self, key):
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_loading_process_that_is_killed_is_one_line(tmp_path):
    """As the kernel does where memory is short."""
    data = KilledWhileItReads(read(tmp_path, make_items(1)), PREPROCESS, seed=3)
    with pytest.raises(
        InputError, match="a process that loads images ended .*: lower data.num_workers, then continue"
    ) as error:
        with loaders_that_live("continue"):
            next(load_batches(data, [[(0, 0)]], num_workers=1, pin_memory=False))
    assert "\n" not in str(error.value)


def test_a_batch_keeps_ids_beside_conversations(tmp_path):
    data = TrainingSet(read(tmp_path, make_items(3)), PREPROCESS, seed=3)
    batch = collate([data[0, index] for index in range(3)])
    assert batch.ids == ["meta.json#0", "meta.json#1", "meta.json#2"]
    assert [len(conversation.images) for conversation in batch.conversations] == [3, 1, 1]
