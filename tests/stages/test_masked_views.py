"""A view with masks, through training, embedding, and evaluation: what is masked out is never seen."""

import json

import cv2
import numpy as np
import pytest

import rewho
from quick_settings import quick
from rewho.core.check import UserError
from rewho.data.file_lists import list_images
from rewho.settings import EmbedSettings, EngineSettings, ModelSettings
from rewho.stages import embed, train

CPU = EngineSettings(device="cpu")


@pytest.fixture(scope="module")
def masked(people, tmp_path_factory):
    """A model of the images' upper halves, by masks."""
    folder = tmp_path_factory.mktemp("masked")
    for name in list_images(people):
        height, width = cv2.imread(str(people / name)).shape[:2]
        mask = np.zeros((height, width), np.uint8)
        mask[: height // 2] = 255
        file = (folder / "masks" / name).with_suffix(".png")
        file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(file), mask)
    view = folder / "upper.yaml"
    view.write_text("name: upper\nbox: {top: 0, bottom: 1}\nsize: [64, 32]\nmask: {files: masks}\n")
    settings = ModelSettings(embedding=16, view=str(view), pretrained="none")
    return train.run(quick(people, folder / "model", model=settings, epochs=1, steps_per_epoch=2))


def test_training_and_evaluation_look_masks_up_and_record_them(masked, people):
    manifest = json.loads((masked / "manifest.json").read_text())
    of_views = {"box of view upper", "masks of view upper"}
    assert set(manifest["inputs"]) == {"data", "images", "length of an epoch", "model.pretrained", *of_views}
    assert 0 <= rewho.evaluate(masked, people).mAP_rectangular <= 1


def test_what_is_masked_out_does_not_change_an_embedding(masked, people, tmp_path):
    file = sorted((people / "query").iterdir())[0]
    image = cv2.imread(str(file))
    height = len(image)
    embeddings = {}
    for name, rows in {"same": slice(0, 0), "lower": slice(height // 2, None), "upper": slice(0, height // 2)}.items():
        changed = image.copy()
        changed[rows] = 255 - changed[rows]
        (tmp_path / name / "query").mkdir(parents=True)
        copy = tmp_path / name / "query" / f"{file.stem}.png"
        cv2.imwrite(str(copy), changed)
        embeddings[name] = rewho.load(masked).embed([copy])
    assert np.array_equal(embeddings["same"], embeddings["lower"])
    assert not np.allclose(embeddings["same"], embeddings["upper"])
    out = embed.run(EmbedSettings(tmp_path / "same", masked, tmp_path / "out", engine=CPU))
    assert len(json.loads((out / "manifest.json").read_text())["inputs"]) == 4


def test_arrays_have_no_name_to_look_a_mask_up_by(masked):
    with pytest.raises(UserError, match="got arrays"):
        rewho.load(masked).embed([np.zeros((64, 32, 3), np.uint8)])
