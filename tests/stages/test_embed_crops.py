"""A crop set is embedded file by file: resumed with what is left, and with the same bytes on a Ray cluster."""

import io
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from rewho import cli
from rewho.core.check import UserError
from rewho.core.runtime import Interrupted
from rewho.crops.rows import rows_table
from rewho.crops.writer import ShardWriter, crop_row, encode
from rewho.embedding.embedder import Embedder, load
from rewho.models.single_view import SingleViewModel
from rewho.models.weights import ModelCard, save_model
from rewho.settings import DeviceSettings, EmbedSettings, ModelSettings
from rewho.stages import embed
from rewho.tasks import crop_embeddings
from rewho.tasks.crop_embeddings import PARTS, part_file

COUNTS = (7, 7, 5)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a crop set of three files and an untrained model."""
    folder = tmp_path_factory.mktemp("embed-crops")
    writer, random = ShardWriter(folder / "crops", shard_rows=COUNTS[0]), np.random.default_rng(3)
    for number in range(sum(COUNTS)):
        pixels = random.integers(0, 256, (40, 20, 3), dtype=np.uint8)
        data = encode(pixels)
        writer.add(rows_table([crop_row(f"crop-{number}", data, pixels, frame=number)]), [data])
    assert tuple(shard.crops for shard in writer.commit().contents.shards) == COUNTS
    torch.manual_seed(3)
    model = SingleViewModel(ModelSettings(embedding=32, pretrained="none"), (64, 32))
    save_model(folder / "model", model, ModelCard())
    return folder


def settings(place: Path, out: Path, **changes) -> EmbedSettings:
    engine = DeviceSettings("cpu", threads=1)
    return EmbedSettings(place / "crops", place / "model", out, batch=4, engine=engine, **changes)


def test_a_stopped_embedding_continues_with_the_files_that_are_left(place, tmp_path, monkeypatch):
    whole = embed.run(settings(place, tmp_path / "whole"))
    embeddings = np.load(whole / "embeddings.npy")
    plain = io.BytesIO()
    np.save(plain, embeddings)
    assert (whole / "embeddings.npy").read_bytes() == plain.getvalue(), "as np.save writes it"
    crops = list(embed.read_images(place / "crops").images)
    one_by_one = load(place / "model", "cpu", 1).embed(crops, batch=1)
    assert embeddings.shape == (19, 32) and np.allclose(embeddings, one_by_one, atol=1e-5)

    real, calls = Embedder.embed, []

    def embed_and_stop(self, images, **options):
        calls.append(len(images))
        if len(calls) == 2:
            signal.raise_signal(signal.SIGTERM)
        return real(self, images, **options)

    monkeypatch.setattr(Embedder, "embed", embed_and_stop)
    again = settings(place, tmp_path / "again")
    with pytest.raises(Interrupted, match="14 of 19 crops are embedded"):
        embed.run(again)
    embed.run(again)
    assert calls == [*COUNTS] and not (tmp_path / "again" / PARTS).exists()
    for name in ("embeddings.npy", "images.csv"):
        assert (tmp_path / "again" / name).read_bytes() == (whole / name).read_bytes()


def test_damaged_parts_and_lost_tasks_are_named(place, tmp_path, monkeypatch):
    given = settings(place, tmp_path / "out", ray=True)
    lost = [crop_embeddings.Outcome(0, 7), crop_embeddings.Outcome(1, None, "killed (2 tries)")]

    def play(left, *given, **options):
        return (one for one in lost if one.task in left)

    monkeypatch.setattr(crop_embeddings, "run_tasks_on_ray", play)
    with pytest.raises(UserError, match=r"shards/00001.arrow \(killed \(2 tries\)\)"):
        embed.run(given)
    for number in range(3):
        part_file(given.out, number).write_bytes(b"\x93NUMPY")
    with pytest.raises(UserError, match=r"parts/00000.npy: expected embeddings of a file of crops"):
        embed.run(given)


def test_options_of_ray_need_it_and_a_crop_set(place, tmp_path, capsys):
    assert cli.main(["embed", str(place / "crops"), "--gpus", "0.5"]) == 2
    assert "--ray" in capsys.readouterr().err
    (tmp_path / "a.png").write_bytes(encode(np.zeros((8, 4, 3), np.uint8)))
    assert cli.main(["embed", str(tmp_path), "--model", str(place / "model"), "--ray"]) == 2
    assert "--ray: expected a crop set" in capsys.readouterr().err


@pytest.mark.slow
def test_on_ray_the_bytes_are_the_same(place, tmp_path):
    ray = pytest.importorskip("ray", reason="Ray is an extra (uv sync --extra scale)")
    alone = embed.run(settings(place, tmp_path / "alone"))
    ray.init(num_cpus=2, num_gpus=0, log_to_driver=False, include_dashboard=False)
    try:
        spread = embed.run(settings(place, tmp_path / "spread", ray=True))
        assert "torch" in sys.modules and (spread / "manifest.json").is_file()
        for name in ("embeddings.npy", "images.csv"):
            assert (spread / name).read_bytes() == (alone / name).read_bytes()
    finally:
        ray.shutdown()
