"""An ONNX file as a module of torch: tensors in, one tensor out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from rewho.core.check import check_choice
from rewho.core.files import parse_json
from rewho.core.onnx_session import OnnxSession
from rewho.core.progress import say


class OnnxNetwork(nn.Module):
    """An opened ONNX file that takes images; its first output unless another is named.

    Attributes:
        input_size: Height and width if the file fixes them, else None.
        takes_bytes: Whether it takes pixels from 0 to 255 and normalises them itself.
        sha256: Hash of the file, and of the files beside it that hold its weights.
    """

    def __init__(self, session: OnnxSession, output: str = "") -> None:
        super().__init__()
        self._session, path = session, session.path
        self.takes_bytes, self.sha256 = self._session.takes_bytes, self._session.sha256
        height, width = self._session.size
        self.input_size = (height, width) if height is not None and width is not None else None
        names = self._session.outputs
        self._output = check_choice(f"output of {path}", output, names) if output else names[0]
        if len(names) > 1 and not output:
            say(f"note: {path} has the outputs {', '.join(names)}; the first is used unless `output` names another")

    @classmethod
    def open(cls, path: Path, layout: str = "", output: str = "", *, on_gpu: bool = False) -> OnnxNetwork:
        """Open a file; empty `layout` and `output` are read from it."""
        device, threads = "auto" if on_gpu else "cpu", torch.get_num_threads()
        return cls(OnnxSession(path, "network", layout=layout, device=device, threads=threads), output)

    def metadata(self, name: str) -> list[float] | None:
        """Return a list of numbers from the file's metadata, such as `mean`; None if it has none."""
        try:
            value = parse_json(self._session.metadata.get(name, "null"))
        except (ValueError, RecursionError):
            return None
        return value if isinstance(value, list) else None

    def forward(self, images: Tensor) -> Tensor:
        """Return the output for images [N, 3, H, W], normalised unless it takes bytes, on the same device."""
        (found,) = self._session.run(images.permute(0, 2, 3, 1).cpu().numpy(), [self._output])
        return torch.from_numpy(np.asarray(found, np.float32)).to(images.device)
