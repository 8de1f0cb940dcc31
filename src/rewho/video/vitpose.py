"""ViTPose of the transformers library, a top-down pose model with COCO's 17 keypoints."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rewho.core.people import KEYPOINTS
from rewho.settings import PoseSettings
from rewho.video.pose import Box, TopDownPose
from rewho.video.transformers_detector import load_model


class VitPose(TopDownPose):
    """ViTPose or ViTPose++: its image processor, and its network on its device."""

    def __init__(self, processor: Any, model: Any, settings: PoseSettings, sha256: str = "") -> None:  # noqa: ANN401
        self._processor, self._model, self.batch = processor, model, settings.batch
        self.name, self.sha256 = f"vitpose:{settings.model}", sha256

    @torch.inference_mode()
    def estimate(self, people: Sequence[tuple[NDArray[np.uint8], Box]]) -> list[NDArray[np.float32]]:
        """Return float32 [17, 3] for each image and box."""
        # Each frame is passed once with all its boxes: the processor copies what it is given.
        frames = [list(group) for _, group in groupby(people, key=lambda one: id(one[0]))]
        images = [frame[0][0] for frame in frames]
        boxes = [np.array([_corner_and_sides(box) for _, box in frame], np.float32) for frame in frames]
        inputs = self._processor(images=images, boxes=boxes, return_tensors="pt").to(self._model.device)
        outputs = self._model(**inputs, **self._experts(len(people)))
        found = self._processor.post_process_pose_estimation(outputs, boxes=boxes)
        return [_keypoints(one) for frame in found for one in frame]

    def _experts(self, people: int) -> dict[str, torch.Tensor]:
        """Return the argument that ViTPose++ needs: its first expert is the one for COCO."""
        if getattr(self._model.config.backbone_config, "num_experts", 1) < 2:
            return {}
        return {"dataset_index": torch.zeros(people, dtype=torch.long, device=self._model.device)}


def _corner_and_sides(box: Box) -> list[float]:
    left, top, right, bottom = box
    return [left, top, max(right - left, 1.0), max(bottom - top, 1.0)]


def _keypoints(found: dict[str, torch.Tensor]) -> NDArray[np.float32]:
    points = torch.cat([found["keypoints"], found["scores"][:, None].clamp(0, 1)], dim=1)
    assert points.shape == (len(KEYPOINTS), 3), "ViTPose's head for COCO"
    return points.cpu().numpy().astype(np.float32)


def load_pose(settings: PoseSettings) -> VitPose:
    """Return the model from a folder or from the hub."""
    processor, model, sha256 = load_model(settings.model, "VitPoseForPoseEstimation", "pose", settings.device)
    return VitPose(processor, model, settings, sha256)
