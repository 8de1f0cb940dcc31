"""The exported network, from uint8 images to embeddings, and its `torch.export` program.

`torch.export` replaces TorchScript, which torch has deprecated. Opening such a program unpickles parts of it and so can
run code: it is for your own use. An ONNX file runs no code.

Letters: N images, H and W height and width of the input, D embedding.
"""

from __future__ import annotations

import io

import torch
from torch import Tensor, nn

from rewho.core.check import UserError
from rewho.models.single_view import SingleViewModel

INPUT, OUTPUT = "images", "embedding"


class EmbeddingGraph(nn.Module):
    """Maps images, uint8 [N, 3, H, W] in RGB, to embeddings, float32 [N, D] of any length; in evaluation mode.

    With `flip` it returns the mean of the embeddings of an image and its mirror image; with `unit`, of unit length.
    """

    def __init__(self, model: SingleViewModel, *, flip: bool = False, unit: bool = False) -> None:
        super().__init__()
        self.model, self.flip, self.unit = model, flip, unit
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Map [N, 3, H, W] to [N, D]."""
        embedding = self._embed(images)
        return nn.functional.normalize(embedding) if self.unit else embedding

    def _embed(self, images: Tensor) -> Tensor:
        if not self.flip:
            embedding: Tensor = self.model(images)
            return embedding
        both: Tensor = self.model(torch.cat([images, images.flip(-1)]))  # one forward pass, so that it is traced once
        return both.reshape(2, -1, both.shape[1]).mean(dim=0)

    def example(self) -> tuple[Tensor]:
        """Return the input to trace with: two black images, because torch treats a batch of one as a fixed size."""
        return (torch.zeros(2, 3, *self.model.input_size, dtype=torch.uint8),)


def describe_failure(graph: EmbeddingGraph, kind: str, error: Exception) -> UserError:
    """Return the error for a network that torch cannot trace or write."""
    settings, first_line = graph.model.settings, (str(error).splitlines() or [""])[0][:200]
    return UserError(
        f"export of a {settings.kind} model with the backbone {settings.backbone}",
        expected=f"a network that torch can write as {kind}",
        got=f"{type(error).__name__}: {first_line}",
        fix="Try the other --format, or a model with another backbone; nothing was written.",
    )


def program_bytes(graph: EmbeddingGraph) -> bytes:
    """Return the content of the network's `torch.export` file, for any batch size."""
    try:
        program = torch.export.export(
            graph, graph.example(), dynamic_shapes={INPUT: {0: torch.export.Dim("batch", min=1)}}
        )
        for node in program.graph.nodes:
            node.meta.pop("stack_trace", None)  # it holds paths of this installation
        file = io.BytesIO()
        torch.export.save(program, file)
    except Exception as error:  # tracing fails in as many ways as there are operators
        raise describe_failure(graph, "a program", error) from error
    return file.getvalue()
