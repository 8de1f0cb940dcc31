"""The training-only branches on disk: `branches.safetensors` + `branches.json`, beside the model that they shaped.

Nobody needs them to recognise people; they are kept because they show what the model learned to look at (FD figure 4).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from safetensors.torch import save

from rewho.core.artifact import write_file, write_json
from rewho.core.check import UserError
from rewho.models.backbone import fill, read_weights
from rewho.models.factorization import Factorization
from rewho.models.single_view import SingleViewModel

BRANCHES = "branches.safetensors"
BRANCHES_CARD = "branches.json"


@dataclass(frozen=True)
class BranchSettings:
    """What `branches.json` says: how to build the branches.

    Args:
        views: Width of each view's representation, by the view's name.
        features: Features that each branch selects.
        kernel: Averaging window of the feature-map branches' pooling.
        from_map: Whether there are feature-map branches.
        from_representation: Whether there are representation branches.
    """

    views: dict[str, int]
    features: int = 512
    kernel: int = 4
    from_map: bool = True
    from_representation: bool = True

    def build(self, model: SingleViewModel) -> Factorization:
        """Return branches for a model, with random weights."""
        return Factorization(
            model.backbone.channels,
            model.settings.embedding,
            self.views,
            self.features,
            self.kernel,
            model.settings.view,
            self.from_map,
            self.from_representation,
        )


def save_branches(folder: Path, branches: Factorization, settings: BranchSettings) -> list[Path]:
    """Write branches beside a model; returns the files written."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in branches.state_dict().items()}
    content = save(tensors)
    return [
        write_file(folder / BRANCHES, lambda file: file.write(content)),
        write_json(folder / BRANCHES_CARD, asdict(settings)),
    ]


def load_branches(folder: Path, model: SingleViewModel) -> Factorization | None:
    """Read the branches beside a model, in evaluation mode; None where the model was not distilled.

    Args:
        folder: The model folder.
        model: The model in it.

    Raises:
        UserError: The description is damaged, or the tensors do not fit it.
    """
    path = folder / BRANCHES_CARD
    if not path.is_file():
        return None
    try:
        branches = BranchSettings(**json.loads(path.read_text(encoding="utf-8"))).build(model)
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}", expected="JSON as `rewho distill` writes it", got=str(error), fix="Copy the model folder again."
        ) from error
    fill(branches, read_weights(folder / BRANCHES), f"{folder / BRANCHES}")
    return branches.eval()
