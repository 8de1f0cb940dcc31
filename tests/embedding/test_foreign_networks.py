"""Teachers of any kind: our folders, timm's networks, ONNX files; the same vectors whichever way they come."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from rewho.core.artifact import hash_file
from rewho.core.check import UserError
from rewho.data.augment import resize
from rewho.data.datasets import read_settings
from rewho.data.views import VIEWS
from rewho.embedding.embedder import load
from rewho.embedding.foreign_networks import open_teacher
from rewho.embedding.onnx_network import OnnxNetwork
from rewho.models.single_view import SingleViewModel
from rewho.models.weights import ModelCard, save_model
from rewho.rendered import write_people
from rewho.settings import DataSettings, EngineSettings, ModelSettings, RepresentSettings
from rewho.stages import represent
from rewho.tasks.labelled import select_training_part
from rewho.tasks.representations import open_representations

CPU = EngineSettings(device="cpu")
MEAN, STD = [0.5, 0.4, 0.3], [0.2, 0.3, 0.4]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder, random = tmp_path_factory.mktemp("images"), np.random.default_rng(1)
    for number in range(5):
        small = random.integers(0, 256, (8, 4, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), cv2.resize(small, (32, 64)))
    return sorted(folder.iterdir())


def export(path, batch=None, size=(32, 16), nhwc=False):
    pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    helper, numbers = onnx.helper, onnx.TensorProto
    height, width = size
    shape = [batch or "n", height, width, 3] if nhwc else [batch or "n", 3, height, width]
    source = helper.make_tensor_value_info("images", numbers.FLOAT, shape)
    target = helper.make_tensor_value_info("vectors", numbers.FLOAT, None)
    other = helper.make_tensor_value_info("maximum", numbers.FLOAT, None)
    nodes = [helper.make_node("Transpose", ["images"], ["x"], perm=[0, 3, 1, 2])] if nhwc else []
    nodes += [
        helper.make_node("GlobalAveragePool", ["x" if nhwc else "images"], ["vectors"]),
        helper.make_node("GlobalMaxPool", ["x" if nhwc else "images"], ["maximum"]),
    ]
    graph = helper.make_graph(nodes, "colours", [source], [target, other])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path)
    return path


def export_weights(path, seed, external=True, pooled=True, scale=1.0):
    """Write a convolution of random weights, which lie in a file of their own or not."""
    pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    helper, numbers = onnx.helper, onnx.TensorProto
    weights = np.float32(scale) * np.random.default_rng(seed).standard_normal((8, 3, 3, 3)).astype(np.float32)
    source = helper.make_tensor_value_info("images", numbers.FLOAT, ["n", 3, 32, 16])
    target = helper.make_tensor_value_info("vectors", numbers.FLOAT, None)
    nodes = [
        helper.make_node("Conv", ["images", "weights"], ["map"]),
        helper.make_node("GlobalAveragePool" if pooled else "Relu", ["map"], ["vectors"]),
    ]
    graph = helper.make_graph(nodes, "g", [source], [target], [onnx.numpy_helper.from_array(weights, "weights")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    location = "weights " + 130 * "w"  # so long that its length takes two bytes
    path.parent.mkdir(exist_ok=True)
    onnx.save(model, path, save_as_external_data=external, location=location, size_threshold=0)
    return path


def describe(folder, **fields):
    file = folder / "teacher.yaml"
    file.write_text(json.dumps({"view": "holistic", "mean": MEAN, "std": STD} | fields))
    return file


def mean_colours(images, size=(32, 16)):
    """What the exported network gives: the mean of each normalised channel, which a flip leaves as it is."""
    arrays = [cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB) for file in images]
    shrunk = resize(arrays, replace(VIEWS["holistic"], size=size))
    return ((shrunk / 255 - MEAN) / STD).mean(axis=(1, 2))


@pytest.mark.parametrize("batch", [None, 1, 2])
@pytest.mark.parametrize("nhwc", [False, True])
def test_an_onnx_file_gives_the_vectors_that_it_should(images, tmp_path, batch, nhwc):
    export(tmp_path / "colours.onnx", batch, nhwc=nhwc)
    file = describe(tmp_path, network="colours.onnx", layout="NHWC" if nhwc else "NCHW")
    teacher = open_teacher(file, None, CPU)
    assert (teacher.width, teacher.view.name, teacher.view.size) == (3, "holistic", (32, 16))
    vectors = np.concatenate(list(teacher.stream(images, batch=3)))
    np.testing.assert_allclose(vectors, mean_colours(images), atol=2e-3)
    assert vectors.dtype == np.float32


def test_colours_and_outputs_can_be_chosen(images, tmp_path, capsys):
    export(tmp_path / "colours.onnx")
    rgb = open_teacher(describe(tmp_path, network="colours.onnx"), None, CPU)
    assert "has the outputs vectors, maximum; the first is used" in capsys.readouterr().err
    bgr = open_teacher(describe(tmp_path, network="colours.onnx", colours="BGR"), None, CPU)
    largest = open_teacher(describe(tmp_path, network="colours.onnx", output="maximum"), None, CPU)
    vectors = [next(teacher.stream(images)) for teacher in (rgb, bgr, largest)]
    np.testing.assert_allclose(vectors[0][:, ::-1], vectors[1], atol=1e-6)
    assert (vectors[2] > vectors[0]).all()
    assert len({rgb.digest, bgr.digest, largest.digest}) == 3, "how the input is prepared makes another teacher"


def test_weights_beside_an_onnx_file_make_another_teacher(tmp_path):
    files = [export_weights(tmp_path / str(number) / "network.onnx", seed) for number, seed in enumerate((1, 1, 2))]
    assert files[0].read_bytes() == files[2].read_bytes() and len(list(files[0].parent.iterdir())) == 2
    digests = [open_teacher(describe(file.parent, network=file.name), None, CPU).digest for file in files]
    assert digests[0] == digests[1] != digests[2]
    alone = export_weights(tmp_path / "alone" / "network.onnx", 1, external=False)
    assert OnnxNetwork.open(alone).sha256 == hash_file(alone)


def test_a_map_that_was_not_pooled_is_no_vector(tmp_path):
    file = export_weights(tmp_path / "network.onnx", 1, external=False, pooled=False)
    with pytest.raises(UserError, match=r"one finite vector per image, got an output of shape \[2, 8, 30, 14\]"):
        open_teacher(describe(tmp_path, network=file.name), None, CPU)


def test_one_vector_for_a_whole_batch_is_named_as_such(tmp_path):
    onnx = pytest.importorskip("onnx")
    export_weights(tmp_path / "network.onnx", 1, external=False)
    model = onnx.load(tmp_path / "network.onnx")
    model.graph.node[1].CopyFrom(onnx.helper.make_node("ReduceMean", ["map"], ["vectors"], axes=[0, 2, 3], keepdims=0))
    onnx.save(model, tmp_path / "network.onnx")
    with pytest.raises(UserError, match="outputs with one row per image") as raised:
        open_teacher(describe(tmp_path, network="network.onnx"), None, CPU)
    assert "UserError" not in str(raised.value)


def test_vectors_that_are_not_finite_are_not_called_unpooled(tmp_path):
    file = export_weights(tmp_path / "network.onnx", 1, external=False, scale=np.nan)
    with pytest.raises(UserError, match="got values that are not finite"):
        open_teacher(describe(tmp_path, network=file.name), None, CPU)


@pytest.mark.parametrize("hub", ["hf-hub:", "hf_hub:"])
def test_a_network_on_the_hub_is_asked_for_and_its_absence_explained(tmp_path, monkeypatch, hub):
    asked = []

    def unreachable(name, **_):
        asked.append(name)
        raise OSError("cannot reach the hub")

    monkeypatch.setattr(timm, "create_model", unreachable)
    with pytest.raises(UserError, match=r"(?s)OSError: cannot reach the hub.*Fix: Check the connection"):
        open_teacher(f"timm:{hub}owner/network", VIEWS["up1"], CPU)
    assert asked == [f"{hub}owner/network"]


def test_timm_networks_are_teachers_for_any_view(images, tmp_path):
    torch.manual_seed(1)
    network = timm.create_model("resnet10t", num_classes=0).eval()
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    file = describe(tmp_path, network="timm:resnet10t", weights="weights.safetensors", view="up1", size=[32, 32])
    teacher = open_teacher(file, VIEWS["up1"], CPU)
    arrays = resize([cv2.cvtColor(cv2.imread(str(p)), cv2.COLOR_BGR2RGB) for p in images], teacher.view)
    prepared = (torch.from_numpy(arrays).permute(0, 3, 1, 2) / 255 - torch.tensor(MEAN)[:, None, None]) / torch.tensor(
        STD
    )[:, None, None]
    with torch.inference_mode():
        expected = (network(prepared) + network(prepared.flip(-1))) / 2
    (found,) = teacher.embed_batches([arrays])
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert teacher.width == 512 and open_teacher(file, None, CPU).digest == teacher.digest
    (plain,) = teacher.embed_batches([arrays], flip=False)
    assert not np.allclose(plain, found)


def test_a_transformer_takes_the_views_size(tmp_path):
    file = describe(tmp_path, network="timm:vit_tiny_patch16_224", weights="none", size=[64, 32])
    assert open_teacher(file, None, CPU).width == 192


def test_our_own_folders_are_teachers_too(images, tmp_path):
    torch.manual_seed(2)
    save_model(tmp_path / "own", SingleViewModel(ModelSettings(embedding=8, view="dn1"), (64, 32)), ModelCard())
    teacher = open_teacher(tmp_path / "own", None, CPU)
    assert (teacher.view.name, teacher.view.size, teacher.width) == ("dn1", (64, 32), 8)
    own = load(tmp_path / "own", "cpu").embed(images)
    assert np.array_equal(np.concatenate(list(teacher.stream(images))), own)
    with pytest.raises(UserError, match="got one for dn1"):
        open_teacher(tmp_path / "own", VIEWS["up1"], CPU)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"network": "none.onnx"}, "no such file"),
        ({"network": "broken.onnx"}, "a sound ONNX file"),
        ({"network": "colours.onnx", "mean": [1, 2, 3]}, "three numbers from 0 to 1"),
        ({"network": "colours.onnx", "std": [0, 0.1, 0.1]}, "three numbers from 0 to 1"),
        ({"network": "colours.onnx", "mean": None}, "three numbers from 0 to 1"),
        ({"network": "colours.onnx", "layout": "CHW"}, "one of NCHW, NHWC"),
        ({"network": "colours.onnx", "output": "vector"}, "Did you mean 'vectors'"),
        ({"network": "colours.onnx", "size": [48, 16]}, "a network for images of 48 x 16"),
        ({"network": "colours.onnx", "veiw": "up1"}, "Did you mean 'view'"),
        ({"network": "timm:resnet51"}, "a model that timm knows"),
        ({"network": "timm:resnet10t", "weights": "none.pth"}, "nothing at"),
    ],
)
def test_mistakes_are_answered(tmp_path, fields, message):
    export(tmp_path / "colours.onnx")
    (tmp_path / "broken.onnx").write_bytes(b"\x08\x09not a network")
    with pytest.raises(UserError) as error:
        open_teacher(describe(tmp_path, **fields), None, CPU)
    assert message in str(error.value)


def test_a_view_is_needed_and_a_bare_onnx_file_is_not_enough(tmp_path):
    with pytest.raises(UserError, match="an ONNX file alone"):
        open_teacher(tmp_path / "a.onnx", VIEWS["up1"], CPU)
    (tmp_path / "t.yaml").write_text("network: timm:resnet10t\nweights: none\n")
    with pytest.raises(UserError, match="expected a view"):
        open_teacher(tmp_path / "t.yaml", None, CPU)


def test_teachers_of_several_kinds_are_represented_together(tmp_path):
    people = write_people(tmp_path / "people", identities=3, test_identities=1, distractors=0, junk=0, workers=0)
    export(tmp_path / "colours.onnx")
    save_model(tmp_path / "own", SingleViewModel(ModelSettings(embedding=8, view="dn1"), (32, 32)), ModelCard())
    kinds = (tmp_path / "own", describe(tmp_path, network="colours.onnx"))
    settings = RepresentSettings(kinds, tmp_path / "said", DataSettings(root=people), engine=CPU)
    index = json.loads((represent.run(settings) / "representations.json").read_text())
    assert {entry["view"]: entry["width"] for entry in index["teachers"]} == {"dn1": 8, "holistic": 3}
    part = select_training_part(read_settings(settings.data))
    said = open_representations(tmp_path / "said", part.digest()).gather(np.arange(len(part)))
    files = [part.file(row) for row in range(len(part))]
    np.testing.assert_allclose(said[:, 8:], mean_colours(files), atol=2e-3)
