"""The steps of `rewho run`: from videos, images and labels to a model and a gallery, as steps of `plan`.

A project file holds the settings of `rewho run`, and under each command's name settings of that step, as in a recipe of
the command; `recipe` there names one to start from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from rewho.core.check import UserError, check_choice
from rewho.core.files import read_yaml
from rewho.core.invocation import read_invocation
from rewho.core.named_models import NAMED_MODELS, models_folder
from rewho.core.record import flatten
from rewho.settings import RunSettings
from rewho.settings.command_line import fill
from rewho.settings.commands import find_commands
from rewho.settings.fields import options_of
from rewho.settings.names import expand_groups
from rewho.settings.recipe import find_recipe, refuse_functions
from rewho.tables.plan import Step

GALLERY = "gallery"
BEST = "best"
"""Reference to the model of the highest mAP in the evaluation: a step that did not help is not used further."""
SECTIONS = ("crop", "pretrain", "train", "adapt", "teachers", "represent", "distill", "evaluate", "export", GALLERY)
DETECTORS = ("yolox-s", "yolox-tiny", "yolox-nano", "yolox-m")
"""Detectors by name, the one that `auto` takes first; the slowest is last."""
AUTOMATIC = {"detector": (DETECTORS, "hog"), "pose": (("mediapipe-pose",), "none")}
"""What `auto` takes: the first of these that is downloaded, or else the other."""
ADAPTING = "adapt/small"


@dataclass(frozen=True)
class Project:
    """What to run.

    Args:
        settings: The settings of `rewho run`.
        sections: Settings of single steps by command, then by dotted name.
    """

    settings: RunSettings
    sections: Mapping[str, Mapping[str, Any]]


def read_project(given: RunSettings) -> Project:
    """Return the project that the settings name or are; what the command line gives beside a file decides.

    Raises:
        UserError: The file cannot be read, or names what there is not.
    """
    sections: dict[str, dict[str, Any]] = {}
    settings = given
    if path := given.project_file:
        content = read_yaml(path, f"project {path}")
        known = [field.name for field in fields(RunSettings)]
        if not isinstance(content, dict):
            fix = "Write `videos: [walk.mp4]` and `terms: terms.yaml`."
            raise UserError(f"project {path}", expected="names and values", got=f"{content!r:.60}", fix=fix)
        for name in content:
            check_choice(f"project {path}", str(name), [*known, *SECTIONS])
            if isinstance(content[name], dict) and name not in SECTIONS:
                fix = f"Write `{name}: VALUE`; settings of a step stand under the command's name, such as `crop:`."
                raise UserError(f"project {path}: {name}", expected="a value", got="names and values", fix=fix)
        # A name that is both is a section where it holds settings, as in `adapt: {epochs: 5}`, which asks for the step.
        own = {name: value for name, value in content.items() if name in known and not isinstance(value, dict)}
        sections = {name: flatten(value) for name, value in content.items() if isinstance(value, dict)}
        own |= {name: True for name in ("pretrain", "adapt", "distill") if name in sections}
        read = fill(RunSettings, {**own, "videos": _listed(own.get("videos"))}, f"run, {path}")
        default = RunSettings()
        typed = {
            field.name: value
            for field in fields(RunSettings)
            if field.name != "videos" and (value := getattr(given, field.name)) != getattr(default, field.name)
        }
        settings = replace(read, **typed)
    if not (settings.videos or settings.crops or settings.data):
        fix = "Run `rewho run VIDEOS --terms terms.yaml`, or pass --crops or --data."
        raise UserError("rewho run", expected="videos, --crops or --data", got="none of them", fix=fix)
    for text in settings.override:
        name, equals, value = text.partition("=")
        stage, dot, option = name.partition(".")
        if not (equals and dot):
            fix = "Write --override train.epochs=10."
            raise UserError("--override", expected="STEP.OPTION=VALUE", got=text, fix=fix)
        sections.setdefault(check_choice("--override", stage, SECTIONS), {})[option] = value
    for stage, values in sections.items():
        refuse_functions(f"section {stage}", values)
    return Project(settings, sections)


def keep_models(project: Project, last: Path | None) -> tuple[Project, list[str]]:
    """Return the project with the detector and keypoint model of `last`, its newest crop set, in place of `auto`.

    Another detector finds other boxes, and with these everybody would be in the folder's gallery twice. The sentences
    say what is kept where `auto` would choose another now.
    """
    settings, said = project.settings, list[str]()
    before = read_invocation(last).get("settings") if last else None
    if not settings.videos or not isinstance(before, dict):
        return project, []
    own, models = project.sections.get("crop", {}), {"detector": settings.detector, "pose": settings.pose}
    for group, (names, otherwise) in AUTOMATIC.items():
        if models[group] != "auto" or any(name.split(".")[0] == group for name in own):
            continue
        kept = str(before.get(f"{group}.weights") or before.get(f"{group}.kind") or "auto")
        chosen = _model_of(group, "auto", names, otherwise)[f"{group}.kind"]
        if kept not in (chosen, "auto"):
            said.append(f"{group} {kept} is kept, as in {last}; for {chosen}, choose another --out")
        models[group] = kept
    return replace(project, settings=replace(settings, detector=models["detector"], pose=models["pose"])), said


def _listed(value: object) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value] if value else []


def build_steps(project: Project, *, tested: bool) -> list[Step]:
    """Return the steps to run, each after those that it needs.

    Args:
        project: The project.
        tested: Whether the labelled data set has a test part, or people are held out.

    Example:
        >>> made = read_project(RunSettings(crops=(Path("crops"),)))
        >>> [step.name for step in build_steps(made, tested=False)]
        ['gallery']
        >>> made = read_project(RunSettings(videos=(Path("a.mp4"),), data=Path("people"), detector="hog", pose="none"))
        >>> [step.name for step in build_steps(made, tested=True)]
        ['crop', 'train', 'evaluate', 'export', 'gallery']
    """
    settings, steps = project.settings, list[Step]()

    def add(stage: str, values: Mapping[str, Any]) -> str:
        own = expand_groups(project.sections.get(stage, {}), dict(options_of(find_commands()[stage])))
        recipe = own.pop("recipe", ADAPTING if stage == "adapt" else None)
        files = [group for group in ("detector", "pose") if own.get(f"{group}.weights")]
        own = {**{f"{group}.kind": "onnx" for group in files}, **own}
        steps.append(Step(stage, stage, find_recipe(Path(str(recipe))) if recipe else None, {**values, **own}))
        return f"{{{stage}}}"

    images = [str(path) for path in settings.crops]
    if settings.videos:
        images.insert(0, add("crop", _cropping(settings)))
    begin = models = settings.model.as_posix()
    if settings.pretrain:
        begin = add("pretrain", {"data.root": images, "model.pretrained": begin})
    made = []
    labels = {"data.root": str(settings.data), "data.hold_out": settings.hold_out}
    if settings.data is not None:
        begin = add("train", {**labels, "model.pretrained": begin})
        made.append(begin)
    if settings.adapt:
        if len(images) > 1:
            fix = "Put them into one folder, or use `rewho crops merge`."
            raise UserError("adapt", expected="one folder of images", got=f"{len(images)}", fix=fix)
        begin = add("adapt", {"data.root": images[0], "model.pretrained": begin})
        made.append(begin)
    if settings.distill:
        teachers = add("teachers", labels)
        representations = add("represent", {**labels, "teachers": [teachers]})
        begin = add("distill", {**labels, "student": begin, "representations": representations})
        made.append(begin)
    if settings.data is not None and tested:
        add("evaluate", {**labels, "data.root": [str(settings.data)], "model": [models, *made]})
        begin = f"{{{BEST}}}"
    if settings.export == "yes" or (settings.export == "auto" and made):
        add("export", {"model": begin})
    if images:
        terms = {} if settings.terms is None else {"terms.file": str(settings.terms)}
        add(GALLERY, {"model": begin, "items": images, **terms})
    return steps


def _cropping(settings: RunSettings) -> dict[str, Any]:
    """Return the settings of `crop`: the frames, tracks, detector and keypoints."""
    values: dict[str, Any] = {"videos": [str(path) for path in settings.videos]}
    values |= {"sampling.by": "seconds", "sampling.seconds": settings.seconds, "tracking.kind": "motion"}
    values["retry"] = True  # a repeated run tries again what failed
    if settings.terms is not None:
        values["terms.file"] = str(settings.terms)
    for group, (names, otherwise) in AUTOMATIC.items():
        values |= _model_of(group, getattr(settings, group), names, otherwise)
    return values


def _model_of(group: str, given: str, names: Sequence[str], otherwise: str) -> dict[str, str]:
    """Return the settings of a detector or keypoint model that is given as a kind, a file, or auto."""
    if given.lower().endswith(".onnx"):
        return {f"{group}.kind": "onnx", f"{group}.weights": given}
    if given != "auto":
        return {f"{group}.kind": given}
    there = [name for name in names if (models_folder() / NAMED_MODELS[name].file).is_file()]
    return {f"{group}.kind": there[0] if there else otherwise}
