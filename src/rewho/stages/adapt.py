"""Adapt a model to images without labels, alone or beside a labelled source (SpCL, and what came after it)."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from rewho.core.artifact import plain, write_file, write_json
from rewho.core.check import UserError, rename_options
from rewho.core.files import read_json
from rewho.core.lock import release_locks
from rewho.core.progress import Progress, say
from rewho.core.record import EPOCH, STARTED, flatten, read_record
from rewho.core.runtime import StopRequest, on_main_process, run_in_processes
from rewho.core.shipped import CARD, TENSORS, find_model
from rewho.core.stage import Stage
from rewho.core.text import quantity
from rewho.data.augment import resize
from rewho.data.batch_size import fit_batch
from rewho.data.view_file import view_of_settings
from rewho.data.views import View, box_of
from rewho.embedding.embedder import view_of
from rewho.embedding.saved import describe, open_saved
from rewho.gallery.adaptation import JUDGED, clean_up, is_used, keep_if_better, open_gallery, target_of
from rewho.models.initial import (
    ORIGIN,
    Origin,
    build_initial_model,
    check_backbone,
    describe_assumptions,
    find_origin,
    hash_pretrained,
    load_initial_weights,
    read_origin,
)
from rewho.models.single_view import SingleViewModel, parameter_count
from rewho.models.weights import ModelCard, load_model, read_card, save_model
from rewho.report.adaptation_page import AdaptationReport, adaptation_page, distance_plot
from rewho.settings import AdaptSettings
from rewho.settings.fields import check
from rewho.tasks.adaptation import AdaptTask, CameraWatch, Epochs, epoch_rows
from rewho.tasks.pseudo_labels import PseudoLabels
from rewho.tasks.run import (
    FIXED,
    FIXED_BY_ORIGIN,
    FREE_SETTINGS,
    PAGE,
    claim_folder,
    finish_training,
    score_test_part,
    seed_weights,
)
from rewho.tasks.target import Source, Target, join, read_source, read_target
from rewho.tasks.unlabelled import hold_in_memory
from rewho.training.checkpoint import WHOLE, newest_checkpoint
from rewho.training.engine import Engine, launch
from rewho.training.loop import Training, train
from rewho.training.optim import build_optimizer

FREE_HERE = (*FREE_SETTINGS, "source.root", "model.pretrained")
START, LAST = "start.json", "last.json"
"""The scores before and after, as one line with the interval over people; the first also as numbers."""
BEGAN = "began_with"
"""What of the initial weights was taken, in the provenance: network or backbone."""
CURVE = "k-distances.json"
DISTANCES = "clusters.png"
SHOWN_CLUSTERS, SHOWN_IMAGES = 8, 10
THUMBNAIL = (96, 48)


class _Data(NamedTuple):
    target: Target
    source: Source | None
    group: int


@run_in_processes
@release_locks
def run(settings: AdaptSettings) -> Path:
    """Adapt a model; return its model folder, with the log, checkpoints and the page about clusters."""
    check(settings, kind=AdaptSettings)
    began = time.monotonic()
    settings, material = open_gallery(settings)
    begin_network = _begins_with_network(settings)
    if not begin_network:
        check_backbone(settings.model)

    target = read_target(settings) if material is None else target_of(settings, material)
    source = read_source(settings, target)
    asked, settings = settings, _fit_batch(settings, target)
    data = _Data(target, source, _group(settings, source))
    inputs = {
        "data": target.sha256,
        **({"source": source.sha256} if source else {}),
        EPOCH: f"{settings.steps_per_epoch} steps",
        "model.pretrained": hash_pretrained(settings.model.pretrained, settings.out),
    }
    if used := material is not None and is_used(settings, material):
        inputs = dict(read_record(settings.out / STARTED)["inputs"])  # as they were before the gallery got its model
    stage = Stage(settings.out, "adapt", plain(asked), inputs, FREE_HERE, WHOLE, (*FIXED, *FIXED_BY_ORIGIN))
    engine = launch(settings.engine, broadcast_buffers=False)  # every process has the same memory, which is large
    if claim_folder(stage, settings, target.table or target.images):
        if material is not None:
            on_main_process(lambda: clean_up(settings))
        return settings.out
    _say_size(settings)
    _say_cameras(settings, target)
    _say_visits(settings, len(target.images))

    seed_weights(settings)
    origin, model = _build_model(settings, network=begin_network)
    with rename_options({"--contrast.norm_group": "--group_identities"}):
        task = AdaptTask(model, settings, target, source.classes if source else 0, data.group)
    training, epochs = _build_training(settings, data, task, model, origin, engine)
    if newest_checkpoint(settings.out / "checkpoints") is None:
        _score_start(settings, target, model, engine)
    state = train(training, engine)

    def save(folder: Path, figures: Mapping[str, float]) -> list[Path]:
        if used:
            return [folder / TENSORS, folder / CARD, folder / JUDGED]
        files = save_model(folder, model, _card(settings, data, origin, figures))
        if material is not None:
            return keep_if_better(settings, material, files)
        page = _write_page(settings, data, task, epochs.view)
        return [*files, page]

    more = [settings.out / name for name in (ORIGIN, START, LAST, CURVE) if (settings.out / name).is_file()]
    counts = {"images": len(target.images), "parameters": parameter_count(model)}
    score_on = settings.data.root if target.table else "PEOPLE"
    finish_training(stage, save, state, counts, began, more, score_on="" if material else score_on)
    if material is not None:
        on_main_process(lambda: clean_up(settings))
    return settings.out


def _begins_with_network(settings: AdaptSettings) -> bool:
    """Return whether the run begins from a whole network, with its head; refuse what cannot be."""
    folder = find_model(settings.model.pretrained)
    card = folder / CARD
    if settings.begin == "backbone" or not card.is_file():
        if settings.begin == "network" and not (settings.out / ORIGIN).is_file():
            fix = "Pass --init FOLDER of `rewho train`, or leave out --begin network."
            raise UserError("--begin network", expected="a model folder", got=settings.model.pretrained, fix=fix)
        return settings.begin == "network"
    architecture = read_card(folder)["architecture"]
    whole: bool = (
        architecture.get("head", "none") != "none" and architecture.get("kind", "single_view") == "single_view"
    )
    if settings.begin == "network" and not whole:
        got = f"{architecture.get('kind')} with head {architecture.get('head')}"
        fix = "Leave out --begin network, which begins from its backbone."
        raise UserError("--begin network", expected="a single-view model with a head", got=got, fix=fix)
    return whole


def _fit_batch(settings: AdaptSettings, target: Target) -> AdaptSettings:
    """Return the settings with a batch of the target that its images can fill without repeats."""
    group = settings.group_identities * settings.sampler.images_per_identity
    sampler = fit_batch(settings.sampler, len(target.images), devices=settings.engine.devices, group=group)
    return replace(settings, sampler=sampler)


def _group(settings: AdaptSettings, source: Source | None) -> int:
    """Return the images of one group of batch normalisation."""
    sampler = settings.sampler
    one_pass = sampler.batch // (settings.engine.devices * sampler.accumulate)
    group = settings.group_identities * sampler.images_per_identity or one_pass
    if one_pass % group or group < 2:
        each = sampler.images_per_identity
        raise UserError(
            "--group_identities",
            expected=f"a divisor of the {one_pass // each} identities of one forward pass, and 2 images or more",
            got=f"{settings.group_identities} identities of {quantity(each, 'images')}",
            fix="Choose a batch that is a multiple of devices x accumulate x group_identities x images_per_identity, "
            "or 0, which makes no groups.",
        )
    return group


def _say_size(settings: AdaptSettings) -> None:
    """Say what will be computed, and what suits two cores where that is the whole of the paper."""
    usual = AdaptSettings()
    size = settings.epochs, settings.steps_per_epoch
    say(f"{quantity(size[0], 'epochs')} of {quantity(size[1], 'steps')} of {settings.sampler.batch} images")
    if size == (usual.epochs, usual.steps_per_epoch):
        say("  these are the paper's (SpCL), meant for GPUs; for two cores there is --recipe adapt/small")


def _say_cameras(settings: AdaptSettings, target: Target) -> None:
    unknown = int((target.cameras < 0).sum())
    if target.known_cameras < 2:
        say(f"cameras: {target.known_cameras} known; batches take any images of a cluster")
        wanted = settings.memory.camera_weight, settings.cluster.standardise_cameras
        if any(wanted):
            say("  note: memory.camera_weight and cluster.standardise_cameras make no difference without cameras")
    else:
        say(
            f"cameras: {target.known_cameras} known"
            + (f", {quantity(unknown, 'images')} of unknown ones" if unknown else "")
        )


def _say_visits(settings: AdaptSettings, images: int) -> None:
    """Warn if clusters are made of the memory, and an epoch is too short to renew it."""
    batch, steps = settings.sampler.batch, settings.steps_per_epoch
    if settings.cluster.of == "memory" and settings.epochs > 1 and steps * batch < images:
        say(
            f"warning: an epoch shows at most {steps * batch:,} of {images:,} images, and the memory is clustered, "
            "whose other vectors are older: pass --cluster.of network, "
            f"or --steps_per_epoch {-(-images // batch)} or more"
        )


def _build_model(settings: AdaptSettings, *, network: bool) -> tuple[Origin, SingleViewModel]:
    """Build the model; when a run is resumed its checkpoint holds every weight, and what it began with may be gone."""
    written, found = settings.out / ORIGIN, newest_checkpoint(settings.out / "checkpoints")
    if found is not None and written.is_file():
        origin = read_origin(settings.out)
        if origin.provenance.get(BEGAN) == "network":
            return origin, open_saved(found[0]).model.to(memory_format=torch.channels_last)
        return origin, _build_backbone(settings, origin).to(memory_format=torch.channels_last)
    if network:
        folder = find_model(settings.model.pretrained)
        model, card = load_model(folder)
        origin = find_origin(replace(settings.model, backbone=card["architecture"]["backbone"]))
        kept = model.settings
        say(
            f"{kept.backbone}: the whole network of {folder}, with its pooling ({kept.pooling}), head ({kept.head}) "
            f"and input of {model.input_size[0]} x {model.input_size[1]}; --begin backbone takes its backbone only"
        )
        view_of(model)
    else:
        origin = find_origin(settings.model)
        model = _build_backbone(settings, origin)
        assumed = describe_assumptions(settings.model, origin)
        say("; ".join(filter(None, [load_initial_weights(model), assumed])))
    origin = replace(origin, provenance={**origin.provenance, BEGAN: "network" if network else "backbone"})
    on_main_process(lambda: write_json(written, origin))
    return origin, model.to(memory_format=torch.channels_last)


def _build_backbone(settings: AdaptSettings, origin: Origin) -> SingleViewModel:
    view = view_of_settings(settings.model)
    model = build_initial_model(settings.model, view.size, origin)
    model.box = box_of(view)
    return model


def _build_training(
    settings: AdaptSettings, data: _Data, task: AdaptTask, model: SingleViewModel, origin: Origin, engine: Engine
) -> tuple[Training, Epochs]:
    fabric = engine.fabric
    joined = join(data.target, data.source)
    progress = Progress("read images", len(joined), unit="images")
    hold_in_memory(joined, settings.data.memory_gb, lambda done, _all: progress.advance(done - progress.done))
    progress.close()
    folder = settings.out

    def draw(curve: NDArray[np.float32], bend: float, eps: float) -> None:
        write_file(folder / DISTANCES, lambda file: file.write(distance_plot(curve, bend, eps).png))

    def keep(epoch: int, found: PseudoLabels) -> None:
        (folder / DISTANCES).unlink(missing_ok=True)  # of an attempt that failed
        step = max(1, len(found.curve) // 500)
        shown = [round(float(value), 4) for value in (*found.curve[::step], found.curve[-1])]
        bend = None if np.isnan(found.bend) else found.bend
        write_json(folder / CURVE, {"epoch": epoch, "eps": found.eps, "bend": bend, "curve": shown})

    task = task.to(fabric.device)
    epochs = Epochs(task, data.target, data.source, view_of(model), settings, data.group, draw, keep)
    pretrained = list(model.pretrained_parts().values())
    heads = [*model.new_parts(), task.source_norms]

    def score(stop: StopRequest) -> dict[str, float] | None:
        table = data.target.table
        return score_test_part(model, table, fabric.device, stop, tell=tell) if table else None

    def tell(line: str) -> None:
        write_json(folder / LAST, {"scores": line})

    training = Training(
        task=task,
        optimizer=build_optimizer(nn.ModuleList(pretrained), heads, settings.optimizer),
        epoch_length=settings.steps_per_epoch,
        batches=lambda start: epochs.batches(
            start, fabric.global_rank, fabric.world_size, fabric.device.type == "cuda"
        ),
        settings=settings,
        folder=folder,
        evaluate=score,
        keep_best=lambda: None,
        names=lambda batch: [joined.name(int(row)) for row in batch.rows],
        watch=CameraWatch(folder),
        pretrained=() if settings.model.pretrained == "none" else pretrained,
        description=describe(model, _card(settings, data, origin, {}), "model"),
    )
    return training, epochs


def _score_start(settings: AdaptSettings, target: Target, model: SingleViewModel, engine: Engine) -> None:
    """Score the model before the training, and write it down."""
    if settings.evaluate_every < 0 or target.table is None:
        return
    table = target.table

    def score() -> None:
        with StopRequest() as stop:
            lines: list[str] = []
            figures = score_test_part(model, table, engine.fabric.device, stop, "before adaptation:", tell=lines.append)
        if figures is not None:
            write_json(settings.out / START, {**figures, "scores": lines[0]})

    on_main_process(score)


def _card(settings: AdaptSettings, data: _Data, origin: Origin, figures: Mapping[str, Any]) -> ModelCard:
    source = data.source
    trained_on = dict(data.target.about)
    if source:
        trained_on["source"] = {"name": source.name, "images": len(source.images), "sha256": source.sha256}
    provenance = {
        **origin.provenance,
        "method": f"clusters as classes, memory {settings.memory.kind}"
        + (", with a labelled source" if source else ""),
        "labels": bool(source) or origin.labels is not False,
        "memory": asdict(settings.memory),
        "cluster": asdict(settings.cluster),
        "group_identities": settings.group_identities,
        "epochs": settings.epochs,
        "steps": settings.epochs * settings.steps_per_epoch,
        "seed": settings.seed,
        "chosen": "the last epoch",
    }
    metrics = {data.target.name: dict(figures)} if figures else {}
    return ModelCard(trained_on, metrics=metrics, provenance=provenance)


def _write_page(settings: AdaptSettings, data: _Data, task: AdaptTask, view: View) -> Path:
    read = read_json(settings.out / CURVE, curve=list, eps=float)
    rows, scores = epoch_rows(settings.out), {}
    if (settings.out / START).is_file():
        before = read_json(settings.out / START)
        scores["before"] = before.pop("scores", "")
        rows = [{"epoch": 0, **before}, *rows]
    if (settings.out / LAST).is_file():
        scores["after the last epoch"] = read_json(settings.out / LAST, scores=str)["scores"]
    left_out = ("out", "resume", "allow_config_change")
    made_with = {
        name: value for name, value in plain(settings).items() if not isinstance(value, dict) and name not in left_out
    }
    made_with |= flatten({"memory": plain(settings.memory), "cluster": plain(settings.cluster)})
    report = AdaptationReport(
        f"Adaptation to {data.target.name}",
        rows,
        np.array(read["curve"]),
        float("nan") if read.get("bend") is None else read["bend"],
        read["eps"],
        clusters=_draw_clusters(data.target, task, view),
        scores=scores,
        made_with=made_with,
    )
    page = adaptation_page(report).encode()
    return write_file(settings.out / PAGE, lambda file: file.write(page))


def _draw_clusters(target: Target, task: AdaptTask, view: View) -> Sequence[tuple[str, bytes]]:
    """Return clusters of the last epoch as rows of images: the largest, and others spread over the sizes."""
    labels = task.memory.labels[task.sources :].cpu().numpy()
    sizes = np.bincount(labels[labels >= 0])
    order = np.argsort(-sizes, kind="stable")
    order = order[sizes[order] > 1]
    chosen = order[np.unique(np.linspace(0, len(order) - 1, SHOWN_CLUSTERS).round().astype(int))] if len(order) else []
    shown = []
    small = View(view.name, view.top, view.bottom, view.left, view.right, THUMBNAIL)
    for cluster in chosen:
        rows = np.flatnonzero(labels == cluster)
        picked = rows[np.unique(np.linspace(0, len(rows) - 1, SHOWN_IMAGES).round().astype(int))]
        row = np.concatenate(list(resize([target.images[int(image)] for image in picked], small)), axis=1)
        cameras = len(np.unique(target.cameras[rows]))
        title = quantity(len(rows), "images") + (
            f" of {quantity(cameras, 'cameras')}" if target.known_cameras > 1 else ""
        )
        shown.append((title, cv2.imencode(".jpg", row[..., ::-1])[1].tobytes()))
    return shown
