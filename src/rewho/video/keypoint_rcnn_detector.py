"""torchvision's Keypoint R-CNN: people and their 17 keypoints from one network.

What is unusual: it scores a keypoint by the height of a heat map, which is unbounded. A logistic curve maps heights to
scores from 0 to 1, such that 2, the usual threshold for "visible", becomes one half.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from rewho.core.artifact import hash_file
from rewho.core.check import UserError
from rewho.core.device import pick_device
from rewho.core.tensors import read_weights
from rewho.settings import DetectorSettings
from rewho.video.boxes import apply_nms
from rewho.video.detector import Detector, check_weights_file
from rewho.video.people import Frame, Person

VISIBLE = 2.0  # height of the heat map that becomes a score of .5
PERSON = 1  # its only class besides the background


class KeypointRcnn(Detector):
    """Keypoint R-CNN with a ResNet-50 and a feature pyramid.

    `model` maps a list of float32 RGB [3, H, W] from 0 to 1 to torchvision's dictionaries.
    """

    name = "keypoint_rcnn"

    def __init__(
        self,
        model: Callable[[list[torch.Tensor]], list[dict[str, torch.Tensor]]],
        settings: DetectorSettings,
        sha256: str = "",
    ) -> None:
        self._model, self._settings, self.sha256 = model, settings, sha256
        self._device = pick_device(settings.device, "--detector.device")

    @torch.inference_mode()
    def detect(self, frames: Sequence[Frame]) -> list[list[Person]]:
        """Return the people in each frame with their keypoints."""
        tensors = [torch.from_numpy(frame.image).to(self._device).permute(2, 0, 1).float() / 255 for frame in frames]
        return [self._people(found) for found in self._model(tensors)] if tensors else []

    def _people(self, found: dict[str, torch.Tensor]) -> list[Person]:
        arrays = {name: values.detach().cpu().numpy() for name, values in found.items()}
        some, settings = arrays["labels"] == PERSON, self._settings
        boxes, scores = arrays["boxes"][some], arrays["scores"][some]
        heights = arrays["keypoints_scores"][some].astype(np.float64)
        likely = 1 / (1 + np.exp(-(heights - VISIBLE).clip(-60, 60)))
        points = np.concatenate([arrays["keypoints"][some][..., :2], likely[..., None]], axis=2).astype(np.float32)
        # The network has applied NMS itself, and its boxes are sorted by score.
        chosen = np.flatnonzero(scores >= settings.confidence)[: settings.most]
        people = apply_nms(boxes[None, chosen], scores[None, chosen], settings.confidence, 1.0, settings.most)[0]
        order = chosen[np.argsort(-scores[chosen], kind="stable")]
        return [
            Person(person.box, person.confidence, points[at], person.index)
            for person, at in zip(people, order, strict=True)
        ]


def load_detector(settings: DetectorSettings) -> KeypointRcnn:
    """Return the detector with the weights of a .pth or .safetensors file."""
    from torchvision.models.detection import keypointrcnn_resnet50_fpn

    path = check_weights_file(settings.weights, "detector.weights", (".safetensors", ".pth", ".pt"))
    model = keypointrcnn_resnet50_fpn(weights=None, weights_backbone=None)
    try:
        model.load_state_dict(read_weights(path))
    except RuntimeError as error:
        expected, got = "the weights of torchvision's keypointrcnn_resnet50_fpn", " ".join(str(error).split())[:200]
        fix = "Download torchvision's KeypointRCNN_ResNet50_FPN_Weights."
        raise UserError(str(path), expected=expected, got=f"others: {got}", fix=fix) from error
    return KeypointRcnn(model.eval().to(pick_device(settings.device, "--detector.device")), settings, hash_file(path))
