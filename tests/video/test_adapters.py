"""The choice of a detector, HOG, and the adapters of torchvision and transformers."""

from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from rewho.core.artifact import hash_file
from rewho.core.check import UserError
from rewho.core.named_models import NAMED_MODELS
from rewho.core.tensors import read_weights
from rewho.rendered import street_frames
from rewho.settings import DetectorSettings, PoseSettings
from rewho.settings.fields import annotations_of
from rewho.video.adapters import build_detector, build_pose
from rewho.video.boxes import compute_iou
from rewho.video.keypoint_rcnn_detector import KeypointRcnn
from rewho.video.people import Frame, Person
from rewho.video.transformers_detector import TransformersDetector
from rewho.video.vitpose import load_pose

BLACK = Frame(0, 0.0, np.zeros((96, 128, 3), np.uint8))


def test_wrong_settings_are_refused() -> None:
    for wrong in (
        DetectorSettings(kind="yolo"),
        DetectorSettings(),
        DetectorSettings(kind="hog", confidence=1.5),
        DetectorSettings(kind="keypoint_rcnn"),
        DetectorSettings(kind="keypoint_rcnn", weights=Path("model.pkl")),
        DetectorSettings(kind="transformers"),
        DetectorSettings(kind="onnx", weights=Path("absent.onnx")),
    ):
        with pytest.raises(UserError, match=r"detector\."):
            build_detector(wrong)


def test_hog_finds_rendered_people() -> None:
    """Not many are asked for: it needs no weights and is for a first try."""
    detector, matched, wanted = build_detector(DetectorSettings(kind="hog")), 0, 0
    for number, (image, truth) in enumerate(street_frames(2.0, fps=2, people=4, size=(480, 854), seed=2)):
        (found,) = detector.detect([Frame(number, 0.0, image)])
        large = np.array([one.box for one in truth if one.visible > 0.9 and one.box[3] - one.box[1] > 150])
        wanted += len(large)
        if found and len(large):
            matched += int((compute_iou(large, np.array([one.box for one in found])).max(1) > 0.4).sum())
    assert wanted >= 4
    assert matched >= wanted / 3
    assert detector.detect([Frame(0, 0.0, np.zeros((40, 40, 3), np.uint8))]) == [[]]


def test_keypoint_rcnn_gives_people_with_keypoints() -> None:
    """The network is replaced by its answer: the adapter is what is tested."""
    asked = []

    def network(images: list[torch.Tensor]) -> list[dict[str, torch.Tensor]]:
        asked.extend(images)
        keypoints = torch.arange(3 * 17 * 3, dtype=torch.float32).reshape(3, 17, 3)
        return [
            {
                "boxes": torch.tensor([[0.0, 0, 50, 90], [60, 5, 90, 80], [3, 3, 9, 9]]),
                "scores": torch.tensor([0.7, 0.9, 0.1]),
                "labels": torch.tensor([1, 1, 1]),
                "keypoints": keypoints,
                "keypoints_scores": torch.tensor([[2.0], [9.0], [0.0]]).expand(3, 17),
            }
            for _ in images
        ]

    white = replace(BLACK, image=np.full((96, 128, 3), 255, np.uint8))
    people = KeypointRcnn(network, DetectorSettings(device="cpu")).detect([white])[0]
    assert asked[0].shape == (3, 96, 128) and asked[0].max() == 1.0
    assert [round(one.confidence, 3) for one in people] == [0.9, 0.7]
    assert people[0].keypoints[0, :2].tolist() == [51.0, 52.0], "each box keeps its own keypoints"
    assert people[1].keypoints[:, 2] == pytest.approx(0.5), "a height of 2 is one half"
    assert people[0].keypoints[:, 2].min() > 0.99
    assert KeypointRcnn(network, DetectorSettings(device="cpu")).detect([]) == []


def test_weights_that_run_code_are_refused(tmp_path: Path) -> None:
    import os

    class Hostile:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "ran"),)

    torch.save({"state": Hostile()}, tmp_path / "hostile.pth")
    (tmp_path / "broken.safetensors").write_bytes(b"\xff" * 100)
    for name in ("hostile.pth", "broken.safetensors"):
        with pytest.raises(UserError, match="a file of tensors"):
            read_weights(tmp_path / name)
    assert not (tmp_path / "ran").exists()
    torch.save({"weight": torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(UserError, match="keypointrcnn_resnet50_fpn"):
        build_detector(DetectorSettings(kind="keypoint_rcnn", weights=tmp_path / "other.pth", device="cpu"))


@pytest.mark.slow
def test_keypoint_rcnn_with_its_real_network(tmp_path: Path) -> None:
    from torchvision.models.detection import keypointrcnn_resnet50_fpn

    torch.save(keypointrcnn_resnet50_fpn(weights=None, weights_backbone=None).state_dict(), tmp_path / "w.pth")
    detector = build_detector(
        DetectorSettings(kind="keypoint_rcnn", weights=tmp_path / "w.pth", confidence=0.0, device="cpu")
    )
    (people,) = detector.detect([BLACK])
    assert len(detector.sha256) == 64
    assert all(one.keypoints.shape == (17, 3) for one in people)


@pytest.fixture(scope="module")
def tiny_detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A D-FINE-like network of the DETR family with random weights, as a folder of the transformers library."""
    transformers = pytest.importorskip("transformers", reason="transformers is an extra")
    torch.manual_seed(0)
    backbone = transformers.RTDetrResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 8, 16, 16],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )
    config = transformers.RTDetrV2Config(
        backbone_config=backbone,
        d_model=16,
        encoder_hidden_dim=16,
        encoder_ffn_dim=16,
        encoder_in_channels=[8, 16, 16],
        decoder_in_channels=[16, 16, 16],
        decoder_ffn_dim=16,
        decoder_layers=2,
        decoder_attention_heads=2,
        encoder_attention_heads=2,
        num_queries=20,
        num_labels=2,
        id2label={0: "pedestrian", 1: "Person"},
    )
    folder = tmp_path_factory.mktemp("tiny-detector")
    transformers.RTDetrV2ForObjectDetection(config).save_pretrained(folder)
    transformers.RTDetrImageProcessor(size={"height": 64, "width": 64}).save_pretrained(folder)
    return folder


def test_a_transformers_detector_from_a_folder(tiny_detector: Path) -> None:
    settings = DetectorSettings(
        kind="transformers", model=str(tiny_detector), confidence=0.0, overlap=1.0, device="cpu"
    )
    detector = build_detector(settings)
    assert isinstance(detector, TransformersDetector)
    assert len(detector.sha256) == 64
    noise = np.random.default_rng(1).integers(0, 255, (96, 128, 3), np.uint8)
    black, noisy = detector.detect([BLACK, replace(BLACK, image=noise)])
    (alone,) = detector.detect([replace(BLACK, image=noise)])
    assert black and noisy
    assert [one.confidence for one in alone] == pytest.approx([one.confidence for one in noisy], abs=1e-4)
    places = np.array([one.box for one in noisy])
    assert places.min() > -200 and places.max() < 400, "pixels of the frame, not shares of it"
    assert [one.confidence for one in noisy] == sorted((one.confidence for one in noisy), reverse=True)
    assert detector.detect([]) == []


def test_only_people_of_many_classes_count(tiny_detector: Path) -> None:
    """The same network, told that one of its two classes is a bus: what is left are the other class's boxes."""
    settings = DetectorSettings(
        kind="transformers", model=str(tiny_detector), confidence=0.0, overlap=1.0, device="cpu"
    )
    detector = build_detector(settings)
    (everything,) = detector.detect([BLACK])
    parts = []
    for names in ({0: "bus", 1: "person"}, {0: "person", 1: "bus"}):
        detector._model.config.id2label = names
        only = TransformersDetector(detector._processor, detector._model, settings)
        parts += only.detect([BLACK])[0]
    assert len(parts) == len(everything)
    assert {one.box for one in parts} == {one.box for one in everything}


def test_models_that_are_not_there_are_named_without_a_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's library would look for a network again and again, for a minute and a half."""
    pytest.importorskip("transformers", reason="transformers is an extra")
    asked: list[object] = []
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("rewho.core.network.is_reachable", lambda address: bool(asked.append(address)))
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: pytest.fail("a name was looked up"))
    for model in ("somebody/no-such-model", str(tmp_path), str(tmp_path / "nothing")):
        with pytest.raises(UserError, match="pass its folder"):
            build_detector(DetectorSettings(kind="transformers", model=model))
    assert asked == ["https://huggingface.co"] * 2, "a folder that is there needs no hub"


def test_a_detector_without_people_is_refused() -> None:
    class Model:
        class config:
            id2label = {0: "cat", 1: "dog"}  # noqa: RUF012

    with pytest.raises(UserError, match="0: cat, 1: dog"):
        TransformersDetector(None, Model(), DetectorSettings())


def test_vitpose_from_a_folder(tmp_path: Path) -> None:
    """Random weights, but the library's own way from boxes to keypoints and back."""
    transformers = pytest.importorskip("transformers", reason="transformers is an extra")
    torch.manual_seed(0)
    backbone = transformers.VitPoseBackboneConfig(
        image_size=[64, 48], patch_size=[16, 16], hidden_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    config = transformers.VitPoseConfig(backbone_config=backbone, num_labels=17, use_simple_decoder=True)
    transformers.VitPoseForPoseEstimation(config).save_pretrained(tmp_path)
    transformers.VitPoseImageProcessor(size={"height": 64, "width": 48}).save_pretrained(tmp_path)
    pose = load_pose(PoseSettings(kind="vitpose", model=str(tmp_path), batch=2, device="cpu"))
    noise = np.random.default_rng(1).integers(0, 255, (96, 128, 3), np.uint8)
    frames = [replace(BLACK, image=noise), BLACK, replace(BLACK, image=noise)]
    person = Person((20.0, 10.0, 50.0, 80.0), 0.9, None, 0)
    people = [[person, replace(person, box=(60.0, 5.0, 90.0, 90.0), index=1)], [], [person]]
    found = pose.add_keypoints(frames, people)
    assert [[one.index for one in some] for some in found] == [[0, 1], [], [0]]
    # Of two heights of a random heat map that differ in the last bit only, either may be the maximum.
    same = np.isclose(found[0][0].keypoints, found[2][0].keypoints, atol=1e-3).all(axis=1)
    assert same.mean() > 0.8, "batches change nothing"
    for some in found:
        for one in some:
            left, top, right, bottom = one.box
            assert one.keypoints.shape == (17, 3)
            assert (np.abs(one.keypoints[:, 0] - (left + right) / 2) < 1.5 * (bottom - top)).all()
    assert not np.allclose(found[0][0].keypoints[:, 0], found[0][1].keypoints[:, 0], atol=5)


def test_every_kind_of_detector_has_its_module() -> None:
    kinds = set(get_args(annotations_of(DetectorSettings)["kind"])) - set(NAMED_MODELS)
    for kind in kinds:
        assert callable(import_module(f"rewho.video.{kind}_detector").load_detector)
    assert len(kinds) >= 5


def test_a_downloaded_keypoint_model_is_found_by_its_name_and_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file has the inputs and outputs of OpenCV's MediaPipe Pose: 39 points, presence, mask, heat map, world."""
    pytest.importorskip("onnx")
    from onnx_files import write_constant

    points = np.zeros((1, 39, 5), np.float32)
    points[..., :2] = 128  # the middle of the input
    points[..., 3] = 4  # visible
    outputs = {
        "points": points.reshape(1, -1),
        "presence": np.ones((1, 1), np.float32),
        "mask": np.zeros((1, 256, 256, 1), np.float32),
        "heatmap": np.zeros((1, 64, 64, 39), np.float32),
        "world": np.zeros((1, 117), np.float32),
    }
    monkeypatch.setenv("REWHO_CACHE", str(tmp_path))
    (tmp_path / "models").mkdir()
    path = write_constant(tmp_path / "models" / "mediapipe-pose.onnx", outputs, (1, 256, 256, 3))
    named = replace(NAMED_MODELS["mediapipe-pose"], sha256=hash_file(path), size=path.stat().st_size)
    monkeypatch.setitem(NAMED_MODELS, "mediapipe-pose", named)
    pose = build_pose(PoseSettings(kind="mediapipe-pose"))
    assert pose is not None and pose.name == "onnx:mediapipe-pose.onnx"
    frame = Frame(0, 0.0, np.zeros((200, 100, 3), np.uint8))
    ((one, other),) = pose.add_keypoints([frame], [[Person((10.0, 20.0, 50.0, 120.0), 0.9, None, 0)] * 2])
    assert one.keypoints is not None and other.keypoints is not None
    np.testing.assert_allclose(one.keypoints[:, :2], [[30, 70]] * 17, atol=0.01)
    assert (one.keypoints[:, 2] > 0.9).all()
