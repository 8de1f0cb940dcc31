"""Detectors of the transformers library: RT-DETRv2, D-FINE and others.

What is unusual: a model is a local folder or a name on the hub. Code that comes with a model never runs, and only
safetensors weights are read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rewho.core.artifact import hash_file
from rewho.core.check import UserError, install
from rewho.core.device import pick_device
from rewho.core.network import use_hub_cache_offline
from rewho.settings import DetectorSettings
from rewho.video.boxes import apply_nms
from rewho.video.detector import Detector, find_person_classes
from rewho.video.people import Frame, Person

EXAMPLES = {"detector": "PekingU/rtdetr_v2_r18vd", "pose": "usyd-community/vitpose-base-simple"}


class TransformersDetector(Detector):
    """A detector of the transformers library: its image processor, and its network on its device."""

    def __init__(self, processor: Any, model: Any, settings: DetectorSettings, sha256: str = "") -> None:  # noqa: ANN401
        self._processor, self._model, self._settings = processor, model, settings
        self.name, self.sha256 = f"transformers:{settings.model}", sha256
        names = {int(number): str(name) for number, name in model.config.id2label.items()}
        fix = f"Choose a model trained on COCO, such as {EXAMPLES['detector']}."
        self._person = list(find_person_classes(names, "detector.model", fix))

    @torch.inference_mode()
    def detect(self, frames: Sequence[Frame]) -> list[list[Person]]:
        """Return the people in each frame."""
        if not frames:
            return []
        inputs = self._processor(images=[frame.image for frame in frames], return_tensors="pt").to(self._model.device)
        sizes = torch.tensor([frame.image.shape[:2] for frame in frames])
        found = self._processor.post_process_object_detection(
            self._model(**inputs), threshold=self._settings.confidence, target_sizes=sizes
        )
        return [self._people(one) for one in found]

    def _people(self, found: dict[str, torch.Tensor]) -> list[Person]:
        person = np.isin(found["labels"].cpu().numpy(), self._person)
        boxes, scores = found["boxes"].float().cpu().numpy()[person], found["scores"].float().cpu().numpy()[person]
        settings = self._settings
        return apply_nms(boxes[None], scores[None], settings.confidence, settings.overlap, settings.most)[0]


def load_detector(settings: DetectorSettings) -> TransformersDetector:
    """Return the detector from a folder or from the hub."""
    processor, model, sha256 = load_model(settings.model, "AutoModelForObjectDetection", "detector", settings.device)
    return TransformersDetector(processor, model, settings, sha256)


def load_model(name: str, kind: str, part: str, device: str) -> tuple[Any, Any, str]:
    """Return image processor, network and hash of the weights, of a local folder or a name on the hub.

    `kind` is the library's class; `part`, detector or pose, is for messages.
    """
    try:
        import transformers
    except ImportError as error:
        fix = install("detect")
        raise UserError(f"{part}.kind", expected="the transformers library", got="none", fix=fix) from error
    if not name:
        raise UserError(f"{part}.model", expected="a folder or a hub name", got="nothing", fix=f"Try {EXAMPLES[part]}.")
    open_processor: Callable[..., Any] = transformers.AutoImageProcessor.from_pretrained
    open_model: Callable[..., Any] = getattr(transformers, kind).from_pretrained
    try:
        with nullcontext() if Path(name).is_dir() else use_hub_cache_offline():
            processor = open_processor(name, trust_remote_code=False)
            model = open_model(name, use_safetensors=True, trust_remote_code=False)
    except (OSError, ValueError, ImportError) as error:
        expected = "a folder with a model, or a hub name that can be reached or was downloaded before"
        got = f"{name}: {' '.join(str(error).split())[:200]}"
        fix = "Check the name. Without a network, download the model elsewhere and pass its folder."
        raise UserError(f"{part}.model", expected=expected, got=got, fix=fix) from error
    files = sorted(Path(name).glob("*.safetensors"))
    sha256 = hash_file(files[0]) if len(files) == 1 else getattr(model.config, "_commit_hash", None) or ""
    return processor, model.eval().to(pick_device(device, f"--{part}.device")), sha256
