"""A training's checkpoint → its network, and a distillation's branches, as they were then.

A checkpoint holds weights alone; how to build what they belong to stands around it: settings in the run's `run.json`,
views in its log, and the architecture of a distillation's student in the folder of the student that it began from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from rewho.core.artifact import STARTED, flatten, hash_file
from rewho.core.check import UserError
from rewho.core.files import read_json
from rewho.core.progress import say
from rewho.data.view_file import view_of_settings
from rewho.models.backbone import fill
from rewho.models.factorization import Factorization
from rewho.models.initial import ORIGIN, first_model, origin_of, read_origin, tensors_under
from rewho.models.single_view import SingleViewModel
from rewho.models.weights import CARD, TENSORS, load_model
from rewho.settings import DistillSettings, ModelSettings, PretrainSettings, TrainSettings
from rewho.settings.command_line import fill as fill_settings
from rewho.training.checkpoint import explain_mismatch, newest_checkpoint, read_checkpoint
from rewho.training.log import read_log

NETWORK = {"train": "model", "distill": "model", "pretrain": "contrast.encoder"}
"""What the names of the network's tensors begin with, in the checkpoints of each command that trains."""


@dataclass(frozen=True)
class Snapshot:
    """A network as it was at some step of its training.

    Args:
        checkpoint: The folder of the checkpoint.
        model: The network, in evaluation mode, on the CPU.
        branches: The feature-map branches of a distillation, likewise; None where there are none.
    """

    checkpoint: Path
    model: SingleViewModel
    branches: Factorization | None = None


def open_snapshot(folder: Path) -> Snapshot:
    """Read a checkpoint and build the network that it belongs to.

    Args:
        folder: One checkpoint, `RUN/checkpoints/step-00000096`; or `RUN`, whose newest undamaged one is taken.

    Raises:
        UserError: The folder is neither, the run has no checkpoint or none that is undamaged, or its folder is not
            whole.
    """
    whole = folder.resolve()
    named = whole.name.startswith("step-")
    run = whole.parents[1] if named else folder
    record = _record(run, folder)
    stage = record["stage"]
    found = (folder, read_checkpoint(folder)) if named else newest_checkpoint(run / "checkpoints")
    if found is None:
        raise UserError(
            f"--model {folder}",
            expected="a model folder, or an unfinished run with a checkpoint",
            got=f"a `rewho {stage}` that has not saved any yet",
            fix="Wait for the end of its first epoch, or train with --checkpoint.every_steps 100.",
        )
    checkpoint, state = found
    if not named:
        say(f"{folder} has no finished model; taking its checkpoint {checkpoint.name}")
    with explain_mismatch(run):
        tensors = {**state["parameters"], **state["buffers"]}
        model, branches = _build(run, record, tensors)
        fill(model, tensors_under(tensors, NETWORK[stage]), f"network in {checkpoint}")
        if branches is not None:
            fill(branches, tensors_under(tensors, "factorization"), f"branches in {checkpoint}")
            branches.eval()
    return Snapshot(checkpoint, model.eval(), branches)


def _record(run: Path, folder: Path) -> dict[str, Any]:
    """Return what a run wrote down when it began, if it trains a network that can be shown."""
    if not (run / STARTED).is_file():
        raise UserError(
            f"--model {folder}",
            expected="a model folder, an unfinished run, or one checkpoint (RUN/checkpoints/step-…)",
            got=f"no {CARD} and no readable {STARTED} in {run}" if folder.is_dir() else "no such folder",
            fix="Give the folder that --out named, or a checkpoint within it.",
        )
    record = read_json(run / STARTED, stage=str, settings=dict, inputs=dict)
    stage = record["stage"]
    if stage not in NETWORK:
        raise UserError(
            f"--model {folder}",
            expected=f"a run of rewho {', '.join(NETWORK)}",
            got=f"one of `rewho {stage}`, which trains no network of its own",
            fix="Give a model folder, or the folder of a training.",
        )
    return record


def _build(
    run: Path, record: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> tuple[SingleViewModel, Factorization | None]:
    """Return the untrained network of a run and, of a distillation, its feature-map branches."""
    stage, values = record["stage"], flatten(record["settings"])
    if stage == "distill":
        settings = fill_settings(DistillSettings, values, stage)
        student = _first_student(settings.student, record["inputs"]["student"])
        return student, _branches(run, settings, student, tensors) if settings.branches.from_map else None
    if stage == "train":
        return _first_model(run, fill_settings(TrainSettings, values, stage).model, record["inputs"]), None
    encoder = replace(fill_settings(PretrainSettings, values, stage).model, extra_bn="no")
    return _first_model(run, encoder, record["inputs"]), None


def _first_model(run: Path, settings: ModelSettings, inputs: Mapping[str, str]) -> SingleViewModel:
    view = view_of_settings(settings)
    for name, box in replace(view, mask=None).inputs().items():
        if inputs.get(name, box) != box:
            raise UserError(
                f"view {settings.view}",
                expected=f"the box that the run in {run} began with: {inputs[name]}",
                got=box,
                fix="Put the view's file back as it was.",
            )
    origin = read_origin(run) if (run / ORIGIN).is_file() else origin_of(settings)
    return first_model(settings, view.size, origin)


def _first_student(folder: Path, sha256: str) -> SingleViewModel:
    file = folder / TENSORS
    if not file.is_file() or hash_file(file) != sha256:
        raise UserError(
            f"student {folder}",
            expected="the model folder that the distillation began from, which says how its network is built",
            got="other weights" if file.is_file() else f"no {file}",
            fix="Run this where the distillation was started, or put the student's folder back.",
        )
    return load_model(folder)[0]


def _branches(
    run: Path, settings: DistillSettings, student: SingleViewModel, tensors: Mapping[str, Tensor]
) -> Factorization:
    """Return untrained feature-map branches, for the views that the log has losses of."""
    try:
        terms: dict[str, Any] = next(iter(read_log(run)), {})
    except UserError as error:
        expected = "the log of the distillation, which names its views"
        raise UserError(error.what, expected=expected, got=error.got, fix="Copy it.") from error
    views = [term.removeprefix("attribute_") for term in terms if term.startswith("attribute_")]
    widths = {
        view: len(tensors[f"factorization.map_branches.{place}.embedding.project.weight"])
        for place, view in enumerate(views)
    }
    return Factorization(
        student.backbone.channels,
        student.settings.embedding,
        widths,
        settings.branches.features,
        settings.branches.kernel,
        from_representation=False,
    )
