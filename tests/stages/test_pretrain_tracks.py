"""Pre-training on pairs of one track: exact after a cut, from lists and crop sets, refused without tracks."""

import csv
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cut_runs import check_equal, cut, lose, state_after
from test_pretrain_stage import settings

from rewho.core.check import UserError
from rewho.crops.rows import rows_table
from rewho.crops.writer import ShardWriter, crop_row, encode
from rewho.data.datasets import read
from rewho.data.splits import training_rows
from rewho.settings import ContrastSettings, PretrainSettings
from rewho.stages import pretrain
from rewho.training.log import read_log

STEPS = 6
TRACKED = ContrastSettings(queue=30, norm_group=4, reference_batch=0, projection=16, positives="track", apart=2.0)


@pytest.fixture(scope="module")
def images(people, tmp_path_factory) -> Path:
    """A list of some people's images, each person and camera a track, a second apart."""
    folder = tmp_path_factory.mktemp("tracked")
    table = read(people)
    rows = training_rows(table)
    with (folder / "list.csv").open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["path", "track", "time"])
        for row in rows.tolist():
            name = Path(table.paths[row]).name
            shutil.copyfile(table.file(row), folder / name)
            lines.writerow([name, f"person {table.person_ids[row]}", row])
    return folder / "list.csv"


@pytest.fixture(scope="module")
def start(images, tmp_path_factory) -> PretrainSettings:
    return settings(images, tmp_path_factory.mktemp("pretrained") / "whole", contrast=TRACKED)


@pytest.fixture(scope="module")
def whole(start) -> Path:
    return pretrain.run(start)


@pytest.mark.parametrize("step", [2, 4])
def test_a_run_cut_after_a_step_ends_with_the_same_bits(start, whole, tmp_path, step):
    folder = cut(whole, tmp_path / "cut", step)
    pretrain.run(replace(start, out=folder))
    check_equal(folder, whole, f"cut after {step}")


def test_the_tracks_of_the_keys_are_saved_and_needed(start, whole, tmp_path):
    tracks = state_after(whole, STEPS)["buffers"]["contrast.queue.tracks"]
    assert (tracks >= 0).all(), "48 keys of known tracks have replaced the 30 random ones"
    folder = cut(whole, tmp_path / "lost", 4)
    assert lose(folder, 4, "queue.tracks", "buffers") == 1
    pretrain.run(replace(start, out=folder))
    losses = [[line["total"] for line in read_log(one) if "total" in line] for one in (whole, folder)]
    assert losses[0][:4] == losses[1][:4] and losses[0] != losses[1]


def test_one_image_twice_is_another_training_without_tracks_in_its_state(start, whole, tmp_path):
    other = pretrain.run(replace(start, out=tmp_path / "same", contrast=replace(TRACKED, positives="same")))
    assert "contrast.queue.tracks" not in state_after(other, STEPS)["buffers"]
    assert read_log(other)[0]["total"] != read_log(whole)[0]["total"]


def write_crops(folder: Path, tracks: list[int | None]) -> Path:
    writer = ShardWriter(folder)
    random = np.random.default_rng(1)
    for number, track in enumerate(tracks):
        pixels = random.integers(0, 256, (48, 24, 3), np.uint8)
        data = encode(pixels)
        row = crop_row(f"crop-{number}", data, pixels, frame=number, time=number / 2, track=track)
        writer.add(rows_table([row]), [data])
    writer.commit()
    return folder


def test_crop_sets_and_lists_are_joined_and_the_counts_are_told(images, tmp_path, capsys):
    crops = write_crops(tmp_path / "crops", [1, 1, None, 2, 1, 1, 2])
    given = settings(images, tmp_path / "out", contrast=TRACKED, epochs=1, steps_per_epoch=1)
    pretrain.run(replace(given, data=replace(given.data, root=(crops, images))))
    (said,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("tracks: ")]
    assert "images pair with one at least 2 s away" in said and "1 with themselves" in said


def test_images_without_tracks_are_refused(tmp_path):
    crops = write_crops(tmp_path / "crops", [None, 1, 2, 3, None, None, None, 4])
    with pytest.raises(UserError, match="tracks of two images or more"):
        pretrain.run(settings(crops, tmp_path / "out", contrast=TRACKED))
    assert not (tmp_path / "out").exists()
