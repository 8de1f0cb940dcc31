"""Exported files give the model's own embeddings, for every kind of model; what is not the same is not kept."""

import importlib.util
import json
import re
import shutil

import cv2
import numpy as np
import pytest
import torch
import yaml

import rewho
from rewho.cli import main
from rewho.core.artifact import hash_file
from rewho.core.check import UserError
from rewho.core.record import find_damage
from rewho.embedding.embedder import view_of
from rewho.embedding.foreign_networks import open_teacher
from rewho.embedding.onnx_network import OnnxNetwork
from rewho.models.kinds import build_model
from rewho.models.weights import ModelCard, save_model
from rewho.settings import DeviceSettings, ExportSettings, ModelSettings
from rewho.stages import export

SIZE = (64, 32)
KINDS = {
    "single-view": {"embedding": 16, "view": "up1"},
    "resnet with a neck": {"backbone": "resnet18", "head": "bn", "pooling": "gem", "extra_bn": "yes"},
    "mgn": {"kind": "mgn", "embedding": 16, "extra_bn": "yes"},
    "bdb": {"kind": "bdb", "embedding": 24},
    "timm": {"backbone": "test_convnext", "embedding": 16, "pooling": "gap"},
    "transformer": {"backbone": "test_vit", "embedding": 16},
}


def save(folder, **changes):
    torch.manual_seed(1)
    model = build_model(ModelSettings(**{"pretrained": "none", **changes}), SIZE)
    with torch.inference_mode():  # running statistics of images, not of nothing
        model.train()(torch.randint(0, 256, (8, 3, *SIZE), dtype=torch.uint8))
    card = ModelCard(trained_on={"name": "street"}, licence="for tests only", metrics={"street": {"mAP": 0.25}})
    save_model(folder, model.eval(), card)
    return folder


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A small model and its export."""
    folder = tmp_path_factory.mktemp("plain")
    save(folder / "model", **KINDS["single-view"])
    return folder / "model", export.run(ExportSettings(folder / "model", folder / "onnx"))


@pytest.fixture(scope="module")
def program(plain, tmp_path_factory):
    """The same model as a program of torch."""
    return export.run(ExportSettings(plain[0], tmp_path_factory.mktemp("program") / "pt2", "pt2"))


@pytest.fixture(scope="module")
def person(tmp_path_factory):
    """A folder with an image of a rendered person."""
    folder = tmp_path_factory.mktemp("person")
    cv2.imwrite(str(folder / "person.png"), export._rendered()[0][..., ::-1])
    return folder


def random_images(count):
    return np.random.default_rng(2).integers(0, 256, (count, *SIZE, 3), dtype=np.uint8)


def file_says(folder, images):
    import onnxruntime

    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    (entry,) = session.get_inputs()
    assert (entry.name, entry.type, entry.shape) == ("images", "tensor(uint8)", ["batch", 3, *SIZE])
    (embeddings,) = session.run(["embedding"], {"images": np.ascontiguousarray(images.transpose(0, 3, 1, 2))})
    return embeddings


def model_says(folder, images, flip):
    with torch.inference_mode():
        network = rewho.load(folder, "cpu").model
        tensors = torch.from_numpy(images).permute(0, 3, 1, 2)
        said = network(tensors)
        return ((said + network(tensors.flip(-1))) / 2 if flip else said).numpy()


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_model_says_the_same_in_any_batch(kind, plain, tmp_path):
    model, made = plain
    if kind != "single-view":
        model = save(tmp_path / "model", **KINDS[kind])
        made = export.run(ExportSettings(model, tmp_path / "onnx"))
    for count in (1, 5):
        found, expected = file_says(made, random_images(count)), model_says(model, random_images(count), flip=False)
        assert found.dtype == np.float32 and found.shape == expected.shape
        np.testing.assert_allclose(found, expected, atol=1e-4 * np.sqrt(np.mean(expected**2)))
    facts = json.loads((made / "model.json").read_text())["export"]
    assert facts["output"]["shape"] == ["batch", expected.shape[1]]
    assert facts["parity"]["images"] == 48 and facts["parity"]["relative_difference"] <= 1e-4
    assert facts["parity"]["same_neighbours"] >= 0.999


@pytest.mark.parametrize("kind", ["onnx", "pt2"])
def test_the_mean_with_the_mirror_image_can_be_in_the_file(plain, tmp_path, kind):
    model, onnx = plain
    made = export.run(ExportSettings(model, tmp_path / kind, kind, flip=True))
    for count in (1, 5):
        images = random_images(count)
        if kind == "onnx":
            found = file_says(made, images)
            assert not np.allclose(found, file_says(onnx, images), atol=1e-3)
        else:
            network = torch.export.load(made / "model.pt2").module()
            found = network(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy(force=True)
        np.testing.assert_allclose(found, model_says(model, images, flip=True), atol=1e-4)
    assert json.loads((made / "model.json").read_text())["export"]["mean_with_mirror_image"] is True


def test_the_folder_says_what_it_is(plain):
    model, made = plain
    assert find_damage(made) is None
    assert sorted(file.name for file in made.iterdir()) == [
        "README.md", "manifest.json", "model.json", "model.onnx", "run.json"
    ]  # fmt: skip
    own, card = (json.loads((folder / "model.json").read_text()) for folder in (model, made))
    added = {"export", "sha256"}  # each folder holds the hashes of its own files
    assert {name: card[name] for name in card if name not in added} == {n: own[n] for n in own if n not in added}
    assert card["sha256"] == {"model.onnx": hash_file(made / "model.onnx")}
    assert card["export"]["source_sha256"] == hash_file(model / "model.safetensors")
    assert (card["export"]["format"], card["export"]["opset"]) == ("onnx", 18)
    assert card["export"]["input"]["view"] == {
        "name": "up1", "masked": False, "top": "1/4", "bottom": "1/2", "left": "0", "right": "1"
    }  # fmt: skip
    page = (made / "README.md").read_text()
    assert yaml.safe_load(page.split("---\n")[1])["license"] == "other"
    assert "for tests only" in page and "* name: street" in page and "* street.mAP: 0.25" in page
    sections = re.split(r"^## .+$", page, flags=re.MULTILINE)
    assert len(sections) == 7 and all(section.strip() for section in sections)


def test_no_path_of_this_machine_is_in_the_file_and_it_is_the_same_again(plain, program, tmp_path):
    model, made = plain
    again = export.run(ExportSettings(model, tmp_path / "again"))
    assert (again / "model.onnx").read_bytes() == (made / "model.onnx").read_bytes()
    for file in (made / "model.onnx", program / "model.pt2"):
        assert str(export.__file__).removesuffix("stages/export.py").encode() not in file.read_bytes()


@pytest.mark.parametrize(("kind", "scale"), [("onnx", 1), ("onnx", 6), ("pt2", 1)])
def test_the_lines_of_python_on_the_page_do_what_rewho_does(plain, program, person, tmp_path, monkeypatch, kind, scale):
    model, made = plain
    folder = made if kind == "onnx" else program
    (code,) = re.findall(r"^```python\n(.*?)^```$", (folder / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(folder)
    names: dict = {}
    image = cv2.imread(str(person / "person.png"))
    noise = np.random.default_rng(1).integers(0, 100, (scale * image.shape[0], scale * image.shape[1], 1), np.uint8)
    cv2.imwrite(str(tmp_path / "it.png"), cv2.resize(image, None, fx=scale, fy=scale) // 2 + noise)
    exec(code.replace("person.jpg", str(tmp_path / "it.png")), names)
    expected = rewho.load(model, "cpu").embed([tmp_path / "it.png"], flip=False)
    np.testing.assert_allclose(names["embeddings"], expected, atol=1e-4)


def test_an_exported_file_is_a_teacher(plain, person, tmp_path):
    model, made = plain
    shutil.copy(made / "model.onnx", tmp_path)
    (tmp_path / "teacher.yaml").write_text("network: model.onnx\nview: up1\n")
    teacher = open_teacher(tmp_path / "teacher.yaml", None, DeviceSettings("cpu"))
    own = rewho.load(model, "cpu")
    assert teacher.view == view_of(own.model) and teacher.width == 16
    assert teacher.mean_colour == pytest.approx(own.model.mean.tolist(), abs=1e-3)
    (found,) = teacher.stream([person / "person.png"])
    np.testing.assert_allclose(found, own.embed([person / "person.png"]), atol=1e-4)


def test_images_of_ones_own_are_compared_on(plain, tmp_path):
    model, _ = plain
    (tmp_path / "few").mkdir()
    for number, image in enumerate(export._rendered()[:13]):
        cv2.imwrite(str(tmp_path / "few" / f"{number}.png"), image)
    made = export.run(ExportSettings(model, tmp_path / "pt2", "pt2", check=tmp_path / "few", batch=4))
    assert json.loads((made / "manifest.json").read_text())["counts"]["images"] == 13
    for file in sorted((tmp_path / "few").iterdir())[:2]:
        file.unlink()
    with pytest.raises(UserError, match="12 images or more, got 11"):
        export.run(ExportSettings(model, tmp_path / "other", "pt2", check=tmp_path / "few"))


def test_a_finished_export_is_skipped_and_another_refused(plain, tmp_path, monkeypatch):
    model, made = plain
    monkeypatch.setattr(export, "onnx_bytes", lambda *_: pytest.fail("it was finished"))
    before = (made / "manifest.json").read_bytes()
    assert export.run(ExportSettings(model, made)) == made
    with pytest.raises(UserError, match="flip: False -> True"):
        export.run(ExportSettings(model, made, flip=True))
    with pytest.raises(UserError, match=r"inputs\.model"):
        export.run(ExportSettings(save(tmp_path / "other", embedding=8, view="up1"), made))
    assert (made / "manifest.json").read_bytes() == before


def test_a_file_that_computes_something_else_is_not_kept(plain, tmp_path, monkeypatch):
    model, made = plain
    computed = OnnxNetwork.forward
    monkeypatch.setattr(export, "onnx_bytes", lambda *_: (made / "model.onnx").read_bytes())
    monkeypatch.setattr(OnnxNetwork, "forward", lambda self, images: computed(self, images) * 1.001)
    with pytest.raises(UserError, match="no model was kept") as error:
        export.run(ExportSettings(model, tmp_path / "onnx"))
    assert "100.00%" in str(error.value), "the neighbours are the same, the numbers are not"
    assert [file.name for file in (tmp_path / "onnx").iterdir()] == ["run.json"]


def test_a_network_that_cannot_be_traced_is_told(plain, tmp_path, monkeypatch):
    model, _ = plain
    monkeypatch.setattr(torch.export, "export", lambda *_, **__: torch.ones(2) if torch.ones(2) else None)
    with pytest.raises(UserError, match="single_view model with the backbone squeezenet1_1") as error:
        export.run(ExportSettings(model, tmp_path / "pt2", "pt2"))
    assert "RuntimeError" in str(error.value)


@pytest.mark.parametrize("missing", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_extra_is_named(plain, tmp_path, monkeypatch, missing):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == missing else found(name, *rest)
    )
    with pytest.raises(UserError) as error:
        export.run(ExportSettings(plain[0], tmp_path / "onnx"))
    assert f"without {missing}." in str(error.value) and "uv sync --extra export" in str(error.value)


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("export --model nowhere", "nothing there"),
        ("export --model model --format onx", "Did you mean 'onnx'"),
        ("export --model model --format torchscript", "onnx, pt2"),
        ("export --model model --check empty", "empty"),
        ("export --model model --batch 0", "--batch"),
        ("export --model model --out model", "a folder with other files"),
    ],
)
def test_mistakes_are_answered(plain, tmp_path, monkeypatch, capsys, command, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    for name, folder in zip(("model", "onnx"), plain, strict=True):
        (tmp_path / name).symlink_to(folder)
    assert main(command.split()) == 2
    printed = capsys.readouterr()
    assert says in printed.err and "Fix: " in printed.err and "Traceback" not in printed.err
    assert not list(tmp_path.rglob("runs/**/model.*"))
