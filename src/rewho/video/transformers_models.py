"""Detectors (RT-DETRv2, D-FINE and their like) and ViTPose from the transformers library.

What is unusual: a model is a local folder or a name on the hub. Code that comes with a model is never run, and only
safetensors weights are read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rewho.core.artifact import hash_file
from rewho.core.check import UserError
from rewho.core.network import use_hub_cache_offline
from rewho.core.people import KEYPOINTS
from rewho.settings import DetectorSettings, PoseSettings
from rewho.video.boxes import best_first
from rewho.video.detector import person_classes
from rewho.video.keypoint_rcnn import torch_device
from rewho.video.people import Frame, Person

EXAMPLES = {"detector": "PekingU/rtdetr_v2_r18vd", "pose": "usyd-community/vitpose-base-simple"}


class TransformersDetector:
    """A detector of the transformers library.

    Args:
        processor: Its image processor.
        model: The network, on its device.
        settings: The thresholds.
        sha256: Hash of the weights.

    Raises:
        UserError: None of its classes is a person.
    """

    def __init__(self, processor: Any, model: Any, settings: DetectorSettings, sha256: str = "") -> None:  # noqa: ANN401
        self._processor, self._model, self._settings = processor, model, settings
        self.name, self.sha256 = f"transformers:{settings.model}", sha256
        names = {int(number): str(name) for number, name in model.config.id2label.items()}
        fix = f"Take one that was trained on COCO, such as {EXAMPLES['detector']}."
        self._person = list(person_classes(names, "detector.model", fix))

    @classmethod
    def load(cls, settings: DetectorSettings) -> TransformersDetector:
        """Return the detector from a folder or from the hub.

        Raises:
            UserError: transformers is not installed, or there is no such model.
        """
        processor, model, sha256 = load_model(
            settings.model, "AutoModelForObjectDetection", "detector", settings.device
        )
        return cls(processor, model, settings, sha256)

    def begin(self, video: Path) -> None:
        """Prepare for a video: nothing to do."""

    @torch.inference_mode()
    def detect(self, frames: Sequence[Frame]) -> list[list[Person]]:
        """Return the people in each frame."""
        if not frames:
            return []
        settings = self._settings
        inputs = self._processor(images=[frame.image for frame in frames], return_tensors="pt").to(self._model.device)
        sizes = torch.tensor([frame.image.shape[:2] for frame in frames])
        found = self._processor.post_process_object_detection(
            self._model(**inputs), threshold=settings.confidence, target_sizes=sizes
        )
        return [self._people(one) for one in found]

    def _people(self, found: dict[str, torch.Tensor]) -> list[Person]:
        person = np.isin(found["labels"].cpu().numpy(), self._person)
        boxes, scores = found["boxes"].float().cpu().numpy()[person], found["scores"].float().cpu().numpy()[person]
        settings = self._settings
        return best_first(boxes[None], scores[None], settings.confidence, settings.overlap, settings.most)[0]


class VitPose:
    """ViTPose, a top-down pose model with COCO's 17 keypoints.

    Args:
        processor: Its image processor.
        model: The network, on its device.
        settings: `batch` counts here.
        sha256: Hash of the weights.
    """

    def __init__(self, processor: Any, model: Any, settings: PoseSettings, sha256: str = "") -> None:  # noqa: ANN401
        self._processor, self._model, self._settings = processor, model, settings
        self.name, self.sha256 = f"vitpose:{settings.model}", sha256

    @classmethod
    def load(cls, settings: PoseSettings) -> VitPose:
        """Return the model from a folder or from the hub.

        Raises:
            UserError: transformers is not installed, or there is no such model.
        """
        processor, model, sha256 = load_model(settings.model, "VitPoseForPoseEstimation", "pose", settings.device)
        return cls(processor, model, settings, sha256)

    def begin(self, video: Path) -> None:
        """Prepare for a video: nothing to do."""

    def add_keypoints(self, frames: Sequence[Frame], people: Sequence[Sequence[Person]]) -> list[list[Person]]:
        """Return the people of each frame with their keypoints."""
        found = [list(some) for some in people]
        flat = [(row, at) for row, some in enumerate(people) for at in range(len(some))]
        for start in range(0, len(flat), self._settings.batch):
            part = flat[start : start + self._settings.batch]
            rows = sorted({row for row, _ in part})
            seen = [[at for other, at in part if other == row] for row in rows]
            sides = [[_sides(people[row][at]) for at in some] for row, some in zip(rows, seen, strict=True)]
            points = self._estimate([frames[row] for row in rows], sides)
            for row, some, estimated in zip(rows, seen, points, strict=True):
                for at, keypoints in zip(some, estimated, strict=True):
                    found[row][at] = replace(people[row][at], keypoints=keypoints)
        return found

    @torch.inference_mode()
    def _estimate(self, frames: Sequence[Frame], sides: list[list[list[float]]]) -> list[list[np.ndarray[Any, Any]]]:
        """Return float32 [17, 3] for every box, given as left, top, width, height."""
        boxes = [np.array(some, np.float32) for some in sides]
        images = [frame.image for frame in frames]
        inputs = self._processor(images=images, boxes=boxes, return_tensors="pt").to(self._model.device)
        outputs = self._model(**inputs, **self._experts(len(inputs["pixel_values"])))
        found = self._processor.post_process_pose_estimation(outputs, boxes=boxes)
        return [[_keypoints(one) for one in some] for some in found]

    def _experts(self, people: int) -> dict[str, torch.Tensor]:
        """Return the argument that ViTPose++ wants: its first expert is the one for COCO."""
        experts = getattr(self._model.config.backbone_config, "num_experts", 1)
        return (
            {"dataset_index": torch.zeros(people, dtype=torch.long, device=self._model.device)} if experts > 1 else {}
        )


def _sides(person: Person) -> list[float]:
    left, top, right, bottom = person.box
    return [left, top, max(right - left, 1.0), max(bottom - top, 1.0)]


def _keypoints(found: dict[str, torch.Tensor]) -> np.ndarray[Any, Any]:
    points = torch.cat([found["keypoints"], found["scores"][:, None].clamp(0, 1)], dim=1)
    assert points.shape == (len(KEYPOINTS), 3), "ViTPose's head for COCO"
    return points.cpu().numpy().astype(np.float32)


def load_model(name: str, kind: str, part: str, device: str) -> tuple[Any, Any, str]:
    """Return image processor, network and hash of the weights, of a local folder or a name on the hub.

    Args:
        name: Folder or hub name.
        kind: Name of the library's class.
        part: detector or pose, for messages.
        device: auto, cpu or cuda.

    Raises:
        UserError: transformers is not installed, or there is no such model.
    """
    try:
        import transformers
    except ImportError as error:
        raise UserError(
            f"{part}.kind", expected="the transformers library", got="none", fix="pip install rewho[detect]"
        ) from error
    if not name:
        raise UserError(f"{part}.model", expected="a folder or a hub name", got="nothing", fix=f"Try {EXAMPLES[part]}.")
    open_processor: Callable[..., Any] = transformers.AutoImageProcessor.from_pretrained
    open_model: Callable[..., Any] = getattr(transformers, kind).from_pretrained
    try:
        with nullcontext() if Path(name).is_dir() else use_hub_cache_offline():
            processor = open_processor(name, trust_remote_code=False)
            model = open_model(name, use_safetensors=True, trust_remote_code=False)
    except (OSError, ValueError, ImportError) as error:
        raise UserError(
            f"{part}.model",
            expected="a folder with a model, or a hub name that can be reached or was downloaded before",
            got=f"{name}: {' '.join(str(error).split())[:200]}",
            fix="Check the name. Without a network, download the model elsewhere and pass its folder.",
        ) from error
    files = sorted(Path(name).glob("*.safetensors"))
    sha256 = hash_file(files[0]) if len(files) == 1 else getattr(model.config, "_commit_hash", None) or ""
    return processor, model.eval().to(torch_device(device, f"{part}.device")), sha256
