"""What is exported: a network from bytes to embeddings, alone; and that network as a program of torch.

The file of `torch.export` stands here for TorchScript, which torch has deprecated. Whoever opens one lets torch
unpickle what the file asks for, so it is for one's own use; an ONNX file runs no code of its maker.

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
    """Images, uint8 [N, 3, H, W] in RGB, to embeddings, float32 [N, D], not normalised; in evaluation mode.

    Args:
        model: The trained network; it normalises its input itself.
        flip: Return the mean of the embeddings of an image and its mirror image.

    Example:
        >>> from rewho.settings import ModelSettings
        >>> graph = EmbeddingGraph(SingleViewModel(ModelSettings(embedding=8), (64, 32)), flip=True)
        >>> graph(torch.zeros(3, 3, 64, 32, dtype=torch.uint8)).shape
        torch.Size([3, 8])
    """

    def __init__(self, model: SingleViewModel, *, flip: bool = False) -> None:
        super().__init__()
        self.model, self.flip = model, flip
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Map [N, 3, H, W] to [N, D]."""
        if not self.flip:
            embedding: Tensor = self.model(images)
            return embedding
        both: Tensor = self.model(torch.cat([images, images.flip(-1)]))  # one pass, so that it is traced once
        return both.reshape(2, -1, both.shape[1]).mean(dim=0)

    def example(self) -> tuple[Tensor]:
        """Return an input to trace with: two black images, because torch takes a batch of one for a fixed size."""
        return (torch.zeros(2, 3, *self.model.input_size, dtype=torch.uint8),)


def untraceable(graph: EmbeddingGraph, kind: str, error: Exception) -> UserError:
    """Return what to tell whoever wants to export a network that torch cannot trace or write down."""
    settings = graph.model.settings
    return UserError(
        f"export of a {settings.kind} model with the backbone {settings.backbone}",
        expected=f"a network that torch can write as {kind}",
        got=f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}",
        fix="Try the other --format, or a model with another backbone; nothing was written.",
    )


def program_bytes(graph: EmbeddingGraph) -> bytes:
    """Return the network as `torch.export.save` writes it, for any batch.

    Raises:
        UserError: The network cannot be traced.
    """
    try:
        program = torch.export.export(
            graph, graph.example(), dynamic_shapes={INPUT: {0: torch.export.Dim("batch", min=1)}}
        )
        for node in program.graph.nodes:
            node.meta.pop("stack_trace", None)  # the paths of this installation are nobody's business
        file = io.BytesIO()
        torch.export.save(program, file)
    except Exception as error:  # tracing fails in as many ways as there are operators
        raise untraceable(graph, "a program", error) from error
    return file.getvalue()
