"""What commands take as images: crop sets, folders by mistake, odd names, copies, scenes."""

import csv
import os

import cv2
import numpy as np
import pytest
import torch

import rewho
from rewho.core.check import UserError
from rewho.core.progress import warn_once
from rewho.crops.shards import CropSet
from rewho.crops.writer import example_set
from rewho.data.datasets import read
from rewho.data.images import warn_of_wide
from rewho.embedding.embedder import load
from rewho.embedding.scoring import rank_table
from rewho.models.single_view import SingleViewModel
from rewho.models.weights import ModelCard, save_model
from rewho.rank.metrics import evaluate as scores_of
from rewho.settings import (
    CompareSettings,
    DataSettings,
    DeviceSettings,
    EmbedSettings,
    EvaluateDataSettings,
    EvaluateSettings,
    ExplainSettings,
    ExportSettings,
    ModelSettings,
    SamplerSettings,
    TrainSettings,
)
from rewho.stages import compare, embed, evaluate, explain, export, train
from rewho.tasks.labelled import select_training_part
from rewho.tasks.run import score_test_part

CPU = DeviceSettings(device="cpu")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("tiny") / "model"
    save_model(folder, SingleViewModel(ModelSettings(embedding=32, pretrained="none"), (64, 32)), ModelCard())
    return folder


def draw(file, seed, size=(40, 20)):
    """Write a random image."""
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    file.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    return file


def names_of(out):
    with (out / "images.csv").open(encoding="utf-8") as file:
        return [row["image"] for row in csv.DictReader(file)]


def test_embedding_a_crop_set_embeds_its_crops(tiny, tmp_path):
    crops = example_set(tmp_path / "set")
    draw(crops / "contact-sheet.png", 0)
    draw(crops / "explained" / "1.png", 1)
    out = embed.run(EmbedSettings(crops, tiny, tmp_path / "out", engine=CPU))
    opened = CropSet.open(crops)
    assert names_of(out) == [opened.name(row) for row in range(2)]
    expected = load(tiny, "cpu").embed([opened[0], opened[1]])
    assert np.array_equal(np.load(out / "embeddings.npy"), expected)


def test_other_commands_refuse_a_crop_set_and_name_the_command_that_converts_it(tiny, tmp_path):
    crops = example_set(tmp_path / "set")
    for work in (
        lambda: explain.run(ExplainSettings((crops,), tiny, tmp_path / "a", engine=CPU)),
        lambda: export.run(ExportSettings(tiny, tmp_path / "b", check=crops)),
        lambda: compare.run(CompareSettings((crops, crops), tiny, engine=CPU)),
        lambda: rewho.search(np.zeros((8, 4, 3), np.uint8), crops, tiny),
        lambda: rewho.evaluate(tiny, crops),
        lambda: evaluate.run(EvaluateSettings((tiny,), (crops,), tmp_path / "c", engine=CPU)),
        lambda: read(crops, "folder"),
    ):
        with pytest.raises(UserError, match=rf"crop set[\s\S]*`rewho crops export {crops}"):
            work()
    for work in (embed.run, lambda settings: compare.run(CompareSettings((settings.images,) * 2, tiny, engine=CPU))):
        with pytest.raises(UserError, match="a command of rewho wrote"):
            work(EmbedSettings(tiny, tiny, tmp_path / "d", engine=CPU))


def test_names_that_are_no_utf8_are_embedded(tiny, tmp_path):
    draw(tmp_path / "in" / "a.png", 0)
    os.link(tmp_path / "in" / "a.png", os.fsencode(tmp_path / "in") + b"/\xff\xfe.png")
    out = embed.run(EmbedSettings(tmp_path / "in", tiny, tmp_path / "out", engine=CPU))
    assert names_of(out) == ["a.png", "\\udcff\\udcfe.png"]


def test_scenes_and_left_out_files_are_said(tiny, tmp_path, capsys):
    draw(tmp_path / "in" / "person.png", 0)
    street = draw(tmp_path / "in" / "street.png", 1, (30, 60))
    for name in ("a.HEIC", "b.heif", "c.tiff"):
        (tmp_path / "in" / name).touch()
    embed.run(EmbedSettings(tmp_path / "in", tiny, tmp_path / "out", engine=CPU))
    said = capsys.readouterr().err
    assert f"warning: 1 of 2 images are wider than high, such as {street}" in said
    warn_once.cache_clear()  # another test may have been warned
    warn_of_wide(["number 1"], 1)
    assert "warning: the image is wider than high" in (alone := capsys.readouterr().err) and "--box" in alone
    assert f"left out of {tmp_path / 'in'}: 3 files (1 x .heic, 1 x .heif, 1 x .tiff)" in said


def labelled(folder, *rows, header="path,person,camera,split"):
    """Write images and their list; a row is (path, seed of the pixels, the other columns)."""
    for path, seed, _ in rows:
        draw(folder / path, seed)
    (folder / "list.csv").write_text("\n".join([header, *(f"{path},{rest}" for path, _, rest in rows)]))
    return folder / "list.csv"


def test_a_copy_of_the_query_is_not_found(tiny, tmp_path, capsys):
    kinds = (("query", "query"), ("copy", "gallery"), ("other", "gallery"))
    rows = [
        (f"{kind}{n}.png", 10 * n + (kind == "other"), f"{n},{kind},{split}") for n in range(3) for kind, split in kinds
    ]
    file = labelled(tmp_path, *rows)
    table = read(file)
    ranking = rank_table(load(tiny, "cpu"), table)
    found = ranking.top(1).indices[:, 0]
    assert not any(ranking.gallery.names[row].startswith("copy") for row in found)
    rewho.evaluate(tiny, file)
    assert "3 queries have byte-identical copies in the gallery" in capsys.readouterr().err
    assert scores_of(ranking).valid_queries == 3


def test_a_pool_with_junk_is_trained_on_and_scored(tiny, tmp_path):
    rows = [(f"{n}.png", n, f"{[1, 1, 2, 2, -1, -2][n]}") for n in range(6)]
    table = read(labelled(tmp_path, *rows, header="path,person"))
    assert len(select_training_part(table)) == 4
    ranking = rank_table(load(tiny, "cpu"), table)
    assert (len(ranking.query), len(ranking.gallery), len(ranking.kept)) == (4, 6, 5)
    assert scores_of(ranking).queries == 4


def test_queries_without_a_gallery_are_noted_and_not_scored(tiny, tmp_path):
    rows = [("1.png", 1, "1,0,train"), ("2.png", 2, "2,0,train"), ("3.png", 3, "3,0,query")]
    table = read(labelled(tmp_path, *rows))
    assert "There is query without gallery: nothing can be scored." in table.notes
    assert score_test_part(load(tiny, "cpu").model, table, torch.device("cpu"), None) is None


def test_messages_name_the_options_of_the_command(tiny, tmp_path):
    file = labelled(tmp_path / "a", ("1.png", 1, "1,0,train"), ("2.png", 2, "2,1,train"))
    draw(tmp_path / "b" / "0001_c1.png", 1)
    draw(tmp_path / "b" / "-1_c1.png", 2)
    for data, option in ((file, "--data.hold_out"), (tmp_path / "b", "--data.person_pattern '")):
        with pytest.raises(UserError, match=option) as caught:
            evaluate.run(EvaluateSettings((tiny,), (data,), tmp_path / "out", engine=CPU))
        assert "--data.root" not in str(caught.value)
    with pytest.raises(UserError, match=r"behind --data\.$"):
        data = EvaluateDataSettings((tmp_path / "none",), "market1501")
        evaluate.run(EvaluateSettings((tiny,), data, tmp_path / "out", engine=CPU))


def test_a_batch_that_the_data_cannot_fill_is_refused_before_images_are_decoded(tmp_path, monkeypatch):
    file = labelled(tmp_path, ("1.png", 1, "1"), ("2.png", 2, "2"), header="path,person")
    monkeypatch.setattr(train, "decode_part", lambda *_: pytest.fail("decoded"))
    model = ModelSettings(pretrained="none")
    with pytest.raises(UserError, match="from 2 to the 2 training images"):
        sampler = SamplerSettings(batch=32, accumulate=2)
        train.run(TrainSettings(data=DataSettings(root=file), model=model, sampler=sampler, out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()
