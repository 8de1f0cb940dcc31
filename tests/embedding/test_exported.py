"""An exported file is a model like any other, with the same embeddings, and needs no torch."""

import json
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch

import rewho
from rewho.core.check import UserError
from rewho.crops.terms import TERMS
from rewho.embedding.exported import ExportedModel, is_exported
from rewho.models.single_view import SingleViewModel
from rewho.models.weights import ModelCard, save_model
from rewho.rendered import write_people
from rewho.settings import ExportSettings, ModelSettings
from rewho.stages import export

pytest.importorskip("onnxscript", reason="the extra `export`")
SIZE = (64, 32)
WITHOUT_TORCH = """
import json, sys
for name in ("torch", "torchvision", "timm", "lightning_fabric", "matplotlib"):
    sys.modules[name] = None  # importing it is an error
import rewho
import rewho.embedding
folder, people, image, other = sys.argv[1:]
model = rewho.load(folder)
print(json.dumps({
    "embedding": model.embed(image)[0].tolist(),
    "similarity": rewho.compare(image, other, model),
    "found": str(rewho.search(image, people + "/query", folder, count=1)[0].path),
    "mAP": rewho.evaluate(folder, people).mAP_rectangular,
}))
from rewho.cli import main
words = ["--model", folder, "--device", "cpu"]
assert main(["compare", image, other, *words]) == 0
assert main(["embed", people + "/query", *words, "--out", people + "-embedded"]) == 0
assert main(["embed", image, *words, "--out", people + "-one"]) == 0
sys.modules.pop("matplotlib")  # which draws pages and sheets
out = ["--out", people + "-found", "--cache", people + "-cache"]
assert main(["search", image, "--in", people + "/query", *words, *out]) == 0
assert main(["evaluate", *words, "--data", people, "--out", people + "-evaluated", "--sheets", "0"]) == 0
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a model of the lower half of people, its exports, and rendered people."""
    folder = tmp_path_factory.mktemp("exported")
    torch.manual_seed(1)
    model = SingleViewModel(ModelSettings(embedding=8, input_size=SIZE, view="dn2", pretrained="none"), SIZE)
    with torch.inference_mode():
        model.train()(torch.randint(0, 256, (8, 3, *SIZE), dtype=torch.uint8))
    save_model(folder / "model", model.eval(), ModelCard())
    export.run(ExportSettings(folder / "model", folder / "plain"))
    export.run(ExportSettings(folder / "model", folder / "mirrored", flip=True, unit=True))
    write_people(folder / "people", identities=2, test_identities=3, cameras=2, images_per_camera=2, workers=0)
    return folder


def images(place):
    return sorted((place / "people" / "query").glob("*.jpg"))


@pytest.mark.parametrize("flip", [True, False])
def test_it_gives_the_embeddings_of_the_model_it_was_made_of(place, flip):
    expected = rewho.load(place / "model", "cpu").embed(images(place), flip=flip)
    found = rewho.load(place / "plain", "cpu").embed(images(place), flip=flip)
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.sqrt(np.mean(expected**2)))


def test_a_file_with_the_mean_and_unit_length_inside(place):
    model = rewho.load(place / "mirrored", "cpu")
    expected = rewho.load(place / "model", "cpu").embed(images(place))
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(model.embed(images(place)), expected, atol=1e-4)
    with pytest.raises(UserError, match="inside the file"):
        model.embed(images(place), flip=False)


def test_arrays_bytes_and_batches_are_the_same_as_files(place):
    model = rewho.load(place / "plain", "cpu")
    paths = images(place)
    whole = model.embed(paths)
    arrays = [cv2.imread(str(path))[..., ::-1] for path in paths]
    np.testing.assert_allclose(model.embed(arrays, batch=2), whole, atol=1e-5)
    np.testing.assert_allclose(model.embed(paths[0].read_bytes())[0], whole[0], atol=1e-5)


def test_everything_that_uses_a_model_works_in_a_process_without_torch(place):
    first, other = (str(path) for path in images(place)[:2])
    words = [str(place / "plain"), str(place / "people"), first, other]
    ran = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *words], capture_output=True, text=True, check=False, timeout=200
    )
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout.splitlines()[0])
    assert float(ran.stdout.splitlines()[1]) == pytest.approx(found["similarity"], abs=1e-4), "`rewho compare`"
    kept = np.load(place / "people-embedded" / "embeddings.npy")
    assert np.load(place / "people-one" / "embeddings.npy").shape == (1, 8)
    assert (place / "people-evaluated" / "index.html").is_file()
    assert "no attention is drawn" in ran.stderr
    np.testing.assert_allclose(kept[0], found["embedding"], atol=1e-5)
    model = rewho.load(place / "model", "cpu")
    expected = model.embed(first)[0]
    np.testing.assert_allclose(found["embedding"], expected, atol=1e-4 * np.sqrt(np.mean(expected**2)))
    assert found["similarity"] == pytest.approx(rewho.compare(first, other, model), abs=1e-4)
    assert found["found"] == first
    assert found["mAP"] == pytest.approx(rewho.evaluate(model, place / "people").mAP_rectangular, abs=1e-6)


def test_a_gallery_embeds_with_an_exported_model(place):
    terms = dict.fromkeys(TERMS, "test")
    with rewho.Gallery.create(place / "gallery", place / "plain", terms=terms, device="cpu") as gallery:
        added = gallery.add(place / "people" / "query")
        found = gallery.search(images(place)[0], count=1, normalise=False)
        assert added.crops == len(images(place))
        assert found.candidates[0].similarity == pytest.approx(1, abs=1e-3)
        asked = [json.loads(row[0]) for row in gallery.database.rows("SELECT asked FROM audit WHERE action = 'add'")]
        assert asked == [{"crops": added.crops, "runtime": "onnxruntime"}]
    assert sorted(file.name for file in (place / "gallery" / "model").iterdir()) == ["model.json", "model.onnx"]


def test_a_model_folder_is_no_export(place):
    assert is_exported(place / "plain") and not is_exported(place / "model") and not is_exported("starter")


def test_damaged_exports_are_refused(place, tmp_path):
    shutil.copytree(place / "plain", tmp_path / "a")
    with (tmp_path / "a" / "model.onnx").open("ab") as file:
        file.write(b"!")
    with pytest.raises(UserError, match="whose hash"):
        rewho.load(tmp_path / "a")
    card = json.loads((place / "plain" / "model.json").read_text())
    del card["export"]["input"]["view"]
    (tmp_path / "a" / "model.json").write_text(json.dumps(card))
    with pytest.raises(UserError, match="without 'view'"):
        rewho.load(tmp_path / "a")
    card = json.loads((place / "plain" / "model.json").read_text())
    card["export"]["file"] = "../plain/model.onnx"
    card["sha256"]["../plain/model.onnx"] = card["sha256"]["model.onnx"]
    (tmp_path / "a" / "model.json").write_text(json.dumps(card))
    with pytest.raises(UserError, match="whose hash"):
        rewho.load(tmp_path / "a")
    with pytest.raises(UserError, match="exported ONNX model"):
        ExportedModel.open(place / "model")
