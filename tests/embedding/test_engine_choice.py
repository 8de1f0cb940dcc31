"""ONNX Runtime and OpenVINO in the place of torch: when, with equal results, and what happens where they cannot."""

import importlib.util

import numpy as np
import pytest
import torch

from rewho.core.check import UserError
from rewho.embedding import runtime
from rewho.embedding.embedder import Embedder, load
from rewho.embedding.runtime import Runner
from rewho.export.parity import same_neighbours
from rewho.models.single_view import SingleViewModel
from rewho.models.weights import ModelCard, save_model
from rewho.rendered import Camera, Identity, render_person
from rewho.settings import ModelSettings

pytest.importorskip("onnxscript", reason="the extra `export`")
SIZE, IMAGES = (64, 32), 40
LIBRARIES = [
    "onnxruntime",
    pytest.param(
        "openvino",
        marks=pytest.mark.skipif(not importlib.util.find_spec("openvino"), reason="openvino is not installed"),
    ),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(1)
    model = SingleViewModel(ModelSettings(embedding=16, input_size=SIZE, pretrained="none"), SIZE)
    with torch.inference_mode():
        for _ in range(4):
            model.train()(torch.randint(0, 256, (8, 3, *SIZE), dtype=torch.uint8))
    folder = tmp_path_factory.mktemp("runtime") / "model"
    save_model(folder, model.eval(), ModelCard())
    return folder


@pytest.fixture(scope="module")
def people():
    return [render_person(Identity.draw(1, n // 4), Camera.draw(1, n % 4), np.random.default_rng(n)).image
            for n in range(IMAGES)]  # fmt: skip


@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize("library", LIBRARIES)
def test_they_compute_what_torch_computes(folder, people, library, flip, capsys):
    expected = load(folder, "cpu", runtime="torch").embed(people, flip=flip, batch=16)
    model = load(folder, "cpu", runtime=library)
    found = model.embed(people, flip=flip, batch=16)
    assert model.runtime == library
    unit = [vectors / np.linalg.norm(vectors, axis=1, keepdims=True) for vectors in (expected, found)]
    assert np.abs(unit[0] - unit[1]).max() <= runtime.LARGEST_DIFFERENCE
    assert same_neighbours(expected, found) == 1
    said = [line for line in capsys.readouterr().err.splitlines() if runtime.NAMES[library] in line]
    assert len(said) == 1, "one line says which library computes"
    assert np.array_equal(model.embed(people, flip=flip, batch=16), found), "the network is traced once and stays"
    assert runtime.NAMES[library] not in capsys.readouterr().err


def test_many_images_take_the_faster_library_and_few_do_not(folder, people, monkeypatch):
    monkeypatch.setattr(runtime, "LEAST", IMAGES)
    model = load(folder, "cpu")
    few = model.embed(people[1:])
    assert model.runtime == "torch"
    assert np.array_equal(few, load(folder, "cpu", runtime="torch").embed(people[1:]))
    model.embed(people)
    assert model.runtime == "onnxruntime"
    model.embed(people[:3], of=IMAGES)
    assert model.runtime == "onnxruntime", "a part of many images is computed as all of them are"
    model.embed(people[:3])
    assert model.runtime == "torch"


def test_a_network_in_training_stays_with_torch(folder, people, monkeypatch):
    monkeypatch.setattr(runtime, "LEAST", 1)
    model = Embedder(load(folder, "cpu").model, {}, torch.device("cpu"))
    model.embed(people)
    assert model.runtime == "torch"


def test_it_stays_with_torch_where_the_results_differ(folder, people, monkeypatch, capsys):
    monkeypatch.setattr(runtime, "LEAST", 1)
    expected = load(folder, "cpu", runtime="torch").embed(people)
    monkeypatch.setattr(runtime, "_difference", lambda *given: 2e-5)
    model = load(folder, "cpu")
    assert np.array_equal(model.embed(people), expected)
    model.embed(people)
    assert capsys.readouterr().err.count("embedding with torch") == 1
    with pytest.raises(UserError, match=r"a difference of 2\.0e-05.*\n.*--runtime torch"):
        load(folder, "cpu", runtime="onnxruntime").embed(people)


def test_it_stays_with_torch_where_packages_are_missing(folder, people, monkeypatch, capsys):
    monkeypatch.setattr(runtime, "LEAST", 1)
    monkeypatch.setattr("rewho.models.traced.PACKAGES", ("onnx", "no_such_package"))
    model = load(folder, "cpu")
    model.embed(people)
    model.embed(people)
    assert model.runtime == "torch"
    assert capsys.readouterr().err.count("no_such_package is not installed") == 1
    with pytest.raises(UserError, match="no_such_package"):
        load(folder, "cpu", runtime="onnxruntime")


def test_a_gpu_computes_with_torch(folder):
    model = load(folder, "cpu").model
    assert Runner(model, torch.device("cuda"), wanted="auto").network(5000, np.zeros((1, *SIZE, 3), np.uint8)) is model
    with pytest.raises(UserError, match="torch on a GPU"):
        Runner(model, torch.device("cuda"), wanted="openvino")
