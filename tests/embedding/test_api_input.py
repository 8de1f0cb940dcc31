"""What Python callers pass: images in every usual form work, and anything else is answered in words."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

import rewho
from rewho import UserError
from rewho.embedding.embedder import embedder
from rewho.models.single_view import SingleViewModel
from rewho.settings import DeviceSettings, ModelSettings, TrainSettings


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(1)
    network = SingleViewModel(ModelSettings(embedding=8, extra_bn="no"), (64, 32))
    return embedder(network, DeviceSettings("cpu"))


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(1).integers(0, 255, (80, 40, 3), np.uint8)


def test_every_form_of_a_image_has_the_same_embedding(model, pixels, tmp_path):
    path, content = tmp_path / "a.png", io.BytesIO()
    image = Image.fromarray(pixels)
    image.save(path)
    image.save(content, "PNG")
    expected = model.embed([pixels])
    assert expected.shape == (1, 8)
    encoded = content.getvalue()
    for one in (pixels, path, str(path), image, encoded, bytearray(encoded), memoryview(encoded)):
        for given in (one, [one], (one,), (item for item in [one])):
            assert np.array_equal(model.embed(given), expected)
    many = model.embed([pixels, path, image, content.getvalue()])
    assert np.allclose(many, np.repeat(expected, 4, 0), atol=1e-4)
    assert model.embed(np.stack([pixels, pixels])).shape == (2, 8)
    assert rewho.compare(image, path, model) == pytest.approx(1, abs=1e-5)
    assert rewho.search(image, tmp_path, model)[0].path == path


@pytest.mark.parametrize("mode", ["1", "P", "LA", "CMYK", "YCbCr", "LAB", "HSV", "I;16"])
def test_images_of_every_mode_of_pil_are_embedded(model, mode):
    grey = Image.fromarray(np.full((80, 40), 90, np.uint8))
    image = Image.fromarray(np.full((80, 40), 90 * 257, np.uint16)) if mode == "I;16" else grey
    if mode != "I;16":
        image = grey.convert("RGB").convert(mode) if mode in ("YCbCr", "LAB", "HSV", "CMYK") else grey.convert(mode)
    assert model.embed(image).shape == (1, 8)
    if mode in ("CMYK", "YCbCr", "HSV"):
        assert rewho.compare(image, grey.convert("RGB"), model) == pytest.approx(1, abs=1e-3)


WRONG = {
    "an image of whole numbers": Image.fromarray(np.zeros((8, 8), np.int32)),
    "an image of decimal numbers": Image.fromarray(np.zeros((8, 8), np.float32)),
    "None": None,
    "an empty list": [],
    "an empty array": np.zeros((0, 64, 32, 3), np.uint8),
    "a number": 3,
    "a list of None": [None],
    "a mapping": {"a": "a.jpg"},
    "a tensor": torch.zeros(3, 8, 8),
    "a list of tensors": [torch.zeros(3, 8, 8)],
    "floats": np.zeros((8, 8, 3)),
    "a grey array": np.zeros((8, 8), np.uint8),
    "channels first": np.zeros((3, 8, 8), np.uint8),
    "four channels": np.zeros((8, 8, 4), np.uint8),
    "no pixels": np.zeros((0, 8, 3), np.uint8),
    "bytes of no image": b"word",
    "no bytes": b"",
    "an open file": io.BytesIO(b"\n" * 7),
    "a folder": ".",
    "no path": "",
    "a file that is not there": "nowhere.jpg",
    "a NUL": "a\0.jpg",
}


@pytest.mark.parametrize("kind", WRONG)
def test_anything_else_is_answered_in_words(model, pixels, kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.bmp").write_bytes(b"")
    for call in (
        lambda: model.embed(WRONG[kind]),
        lambda: list(model.stream(WRONG[kind])),
        lambda: rewho.compare(pixels, WRONG[kind], model),
        lambda: rewho.search(WRONG[kind], tmp_path, model),
    ):
        with pytest.raises(UserError):
            call()


def test_two_images_are_not_one(model, pixels):
    with pytest.raises(UserError, match="expected one, got 2"):
        rewho.compare([pixels, pixels], pixels, model)


@pytest.mark.parametrize("wrong", [None, "", 3, [], b"model", "nowhere"])
def test_models_folders_and_data_are_paths(model, pixels, wrong):
    for call in (
        lambda: rewho.load(wrong),
        lambda: rewho.compare(pixels, pixels, wrong),
        lambda: rewho.search(pixels, wrong, model),
        lambda: rewho.evaluate(model, wrong),
        lambda: rewho.evaluate(wrong, "data"),
        lambda: rewho.crop(wrong, terms={}),
    ):
        with pytest.raises(UserError):
            call()


@pytest.mark.parametrize("batch", [0, -1, 2.0, True, None])
def test_a_batch_is_a_whole_number(model, pixels, batch):
    with pytest.raises(UserError, match="batch: expected a whole number"):
        model.embed([pixels], batch=batch)


@pytest.mark.parametrize("count", [0, -1, 1.5, True, "3", None])
def test_a_count_is_a_whole_number(model, pixels, count, tmp_path):
    with pytest.raises(UserError, match="count"):
        rewho.search(pixels, tmp_path, model, count=count)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (None, "data.root: expected a path"),
        ({"epochs": 3}, "data.root: expected a path"),
        ("recipe.yaml", "recipe.yaml: expected a folder"),
        (TrainSettings, "TrainSettings"),
        (ModelSettings(), "data.root: expected a path"),
        (TrainSettings(epochs=0), "--epochs"),
        (TrainSettings(epochs="3"), "--epochs"),
        (TrainSettings(epochs=True), "--epochs"),
        (TrainSettings(epochs=2.5), "--epochs"),
        (TrainSettings(seed=-1), "--seed"),
        (TrainSettings(seed=2**64), "--seed: expected a whole number from 0"),
        (TrainSettings(seed=1.0), "--seed"),
        (TrainSettings(out="runs/x"), "--out: expected a path"),
        (TrainSettings(model="resnet50"), "--model"),
        (TrainSettings(model=ModelSettings(input_size=[256, 128])), "--model.input_size"),
        (TrainSettings(model=ModelSettings(extra_bn=True)), "--model.extra_bn"),
    ],
)
def test_settings_are_checked_as_on_the_command_line(settings, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as error:
        rewho.train(settings)
    assert says in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "given", [{"confidence": 3}, {"detector": {"kin": "hog"}}, {"seed": "x"}, {"detector": 3}, {"workers": "many"}]
)
def test_crop_takes_the_settings_of_the_command(given, tmp_path):
    with pytest.raises(UserError):
        rewho.crop(tmp_path / "a.mp4", tmp_path / "out", terms={"name": "x"}, **given)
