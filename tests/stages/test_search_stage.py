"""Searching folders, crop sets and embeddings; what is computed once, what again, and what is left out."""

import re
import shutil

import cv2
import numpy as np
import pytest
import torch

from rewho.core.check import UserError
from rewho.crops.rows import rows_table
from rewho.crops.writer import ShardWriter, crop_row, encode
from rewho.embedding import embedder
from rewho.models.single_view import SingleViewModel
from rewho.models.weights import ModelCard, save_model
from rewho.rendered import write_people
from rewho.settings import EmbedSettings, ModelSettings
from rewho.settings.answers import SearchSettings
from rewho.stages import embed, search


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with two models and a data set of rendered people."""
    folder = tmp_path_factory.mktemp("search")
    for seed in (1, 2):
        torch.manual_seed(seed)
        model = SingleViewModel(ModelSettings(embedding=8, input_size=(64, 32), pretrained="none"), (64, 32))
        save_model(folder / f"model{seed}", model, ModelCard())
    write_people(folder / "people", identities=2, test_identities=3, cameras=2, images_per_camera=2, workers=0)
    return folder


def crop_set(folder, video=""):
    """Write a crop set of one crop, 2.5 s into a video or of no video."""
    pixels = np.full((8, 4, 3), 60, np.uint8)
    data = encode(pixels)
    writer = ShardWriter(folder)
    writer.add(rows_table([crop_row("crop", data, pixels, video=video, time=2.5)]), [data])
    writer.commit()
    return folder


@pytest.fixture
def counted(monkeypatch):
    """The number of images that the network has embedded, in the last place."""
    images = [0]
    real = embedder.Embedder.stream

    def stream(self, given, **options):
        images[0] += len(given)
        return real(self, given, **options)

    monkeypatch.setattr(embedder.Embedder, "stream", stream)
    return images


def settings(place, tmp_path, **changes):
    query = sorted((place / "people" / "query").iterdir())[0]
    given = {"queries": (query,), "gallery": place / "people", "model": place / "model1", "out": tmp_path / "out"}
    return SearchSettings(**{**given, "cache": tmp_path / "kept", "count": 4} | changes)


def test_a_folder_is_searched_once_embedded_and_the_query_is_left_out(place, tmp_path, counted, capsys):
    said = search.run(settings(place, tmp_path))
    lines = said.splitlines()
    assert lines[0].split() == ["query", "rank", "similarity", "image", "person", "camera", "or", "time"]
    assert len(lines) == 6 and re.search(r" 1 +\d\.\d{4} +bounding_box\w+/\S+ +(\d+|–) +camera c\d", lines[1])
    similarities = [float(line.split()[2]) for line in lines[1:5]]
    assert similarities == sorted(similarities, reverse=True)
    name = settings(place, tmp_path).queries[0].name
    assert f"query/{name}" not in said and "is itself in" in capsys.readouterr().err
    assert cv2.imread(str(tmp_path / "out" / "sheet.jpg")).shape[0] > 100
    page = (tmp_path / "out" / "index.html").read_text()
    assert "<h1>Search</h1>" in page and "left out" in page and page.count("<img") == 5
    total = len(list((place / "people").rglob("*.jpg")))
    assert counted[0] == total + 1
    assert search.run(settings(place, tmp_path)) == said, "finished: the same answer, nothing computed"
    assert counted[0] == total + 1


def test_only_new_and_changed_images_are_embedded_again(place, tmp_path, counted, capsys):
    folder = tmp_path / "images"
    shutil.copytree(place / "people" / "bounding_box_test", folder)
    total = len(list(folder.iterdir()))
    search.run(settings(place, tmp_path, gallery=folder))
    assert "for the first time" in capsys.readouterr().err and counted[0] == total + 1
    first, second = sorted(folder.iterdir())[:2]
    first.rename(folder / "renamed.jpg")
    second.write_bytes((place / "people" / "bounding_box_train" / "0001_c1s1_000001_00.jpg").read_bytes())
    search.run(settings(place, tmp_path, gallery=folder, out=tmp_path / "again"))
    assert f"1 of {total} images are new or changed" in capsys.readouterr().err and counted[0] == total + 3
    search.run(settings(place, tmp_path, gallery=folder, model=place / "model2", out=tmp_path / "other"))
    assert counted[0] == 2 * total + 4, "another model's embeddings are of their own"
    for file in (tmp_path / "kept").iterdir():
        file.write_bytes(b"damaged")
    search.run(settings(place, tmp_path, gallery=folder, out=tmp_path / "third"))
    assert "are damaged" in capsys.readouterr().err and counted[0] == 3 * total + 5


def test_what_embed_wrote_is_searched_with_its_own_model(place, tmp_path, capsys):
    gallery, made = place / "people" / "bounding_box_test", tmp_path / "embedded"
    embed.run(EmbedSettings(images=gallery, model=place / "model1", out=made, flip=False))
    queries = tuple(sorted((place / "people" / "query").iterdir())[:2])
    given = {"queries": queries, "flip": False}
    of_files = search.run(settings(place, tmp_path, gallery=gallery, out=tmp_path / "a", **given))
    of_embeddings = search.run(settings(place, tmp_path, gallery=made, model=None, out=tmp_path / "b", queries=queries))

    def columns(said):
        return [line.split()[:4] for line in said.splitlines()[1:-1]]

    assert columns(of_files) == columns(of_embeddings) and len(columns(of_files)) == 8
    with pytest.raises(UserError, match=r"those of another model"):
        search.run(settings(place, tmp_path, gallery=made, model=place / "model2", out=tmp_path / "c"))
    (made / "manifest.json").unlink()
    with pytest.raises(UserError, match="finished folder of `rewho embed`"):
        search.run(settings(place, tmp_path, gallery=made, out=tmp_path / "d"))


def test_a_crop_set_is_searched_with_the_time_in_the_video(place, tmp_path):
    said = search.run(settings(place, tmp_path, gallery=crop_set(tmp_path / "crops", video="a1b2c3d4" * 8), count=2))
    assert "video a1b2c3d4, 2.5 s" in said


def test_heads_of_crops_are_hidden_on_the_page(tmp_path):
    pixels = np.random.default_rng(1).integers(0, 255, (96, 48, 3), np.uint8)
    data, writer = encode(pixels), ShardWriter(tmp_path / "crops")
    writer.add(rows_table([crop_row("crop", data, pixels)]), [data])
    writer.commit()
    shown = search._cell(search._open_gallery(tmp_path / "crops"), 0, 0.5).image
    assert (
        np.abs(shown[:20].astype(int) - pixels[:20]).mean() > 40 > np.abs(shown[-20:].astype(int) - pixels[-20:]).mean()
    )


def test_a_crop_of_no_video_is_found_with_its_time_alone(place, tmp_path):
    said = search.run(settings(place, tmp_path, gallery=crop_set(tmp_path / "crops"), count=2))
    assert " 2.5 s" in said and "video" not in said.splitlines()[1]


def test_the_starter_searches_where_no_model_is_named(place, tmp_path, capsys):
    search.run(settings(place, tmp_path, model=None))
    assert "model starter, which comes with rewho" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"queries": ()}, "one image or more"),
        ({"gallery": None}, "what to search"),
        ({"gallery": "nowhere"}, "nothing there"),
    ],
)
def test_mistakes(place, tmp_path, change, message):
    if change.get("gallery"):
        change = {"gallery": tmp_path / "nowhere"}
    with pytest.raises(UserError, match=re.escape(message)):
        search.run(settings(place, tmp_path, **change))
    with pytest.raises(UserError, match="got a folder"):
        search.run(settings(place, tmp_path, queries=(place / "people" / "query",)))
    assert np.all([not (tmp_path / "out").exists()])
