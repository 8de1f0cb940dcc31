"""Pre-train an encoder on images without labels by momentum contrast (LUPerson sections 4 and 5.1)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rewho.core.artifact import plain, write_json
from rewho.core.check import UserError, rename_options
from rewho.core.lock import release_locks
from rewho.core.progress import Progress, say
from rewho.core.record import EPOCH
from rewho.core.runtime import StopRequest, on_main_process, run_in_processes
from rewho.core.stage import Stage
from rewho.core.text import quantity
from rewho.data.batch_size import fit_batch
from rewho.data.batches import PlanStream
from rewho.data.datasets import read_settings
from rewho.data.splits import has_test_part
from rewho.data.table import ImageTable
from rewho.data.view_file import view_of_settings
from rewho.embedding.saved import describe
from rewho.models.initial import (
    ORIGIN,
    Origin,
    build_initial_model,
    find_origin,
    hash_pretrained,
    load_initial_weights,
    read_origin,
)
from rewho.models.single_view import SingleViewModel, parameter_count
from rewho.models.weights import ModelCard, save_model
from rewho.settings import ModelSettings, PretrainSettings
from rewho.settings.fields import check
from rewho.tasks.contrast import ContrastPreparation, ContrastTask, warn_of_failure
from rewho.tasks.run import (
    FIXED,
    FIXED_BY_ORIGIN,
    FREE_SETTINGS,
    build_training,
    claim_folder,
    finish_training,
    score_test_part,
    seed_weights,
    train_marking_best,
)
from rewho.tasks.track_pairs import TrackPairs
from rewho.tasks.unlabelled import JoinedImages, channel_statistics, count_files_of, hold_in_memory, open_images
from rewho.training.checkpoint import WHOLE, has_checkpoint
from rewho.training.engine import launch
from rewho.training.optim import build_optimizer

FREE_HERE = (*FREE_SETTINGS, "probe", "model.pretrained")
FIXED_HERE = (*FIXED, *FIXED_BY_ORIGIN, "data.statistics_of", "contrast.positives")
QUEUE_FILLS = 2  # initial fills of the queue during which the loss rises, because real keys replace random ones


@run_in_processes
@release_locks
def run(settings: PretrainSettings) -> Path:
    """Pre-train an encoder; return its model folder, with log.jsonl and checkpoints."""
    check(settings)
    began = time.monotonic()

    # Data
    images = open_images(settings.data.root).share(settings.data.share, settings.data.share_seed)
    asked, settings = settings, _fit_batch(settings, images)
    probe = _read_probe(settings)
    plans = _build_plans(settings, images)
    pairs = _pair_tracks(settings, images)
    inputs = {
        "crops": images.digest,
        EPOCH: f"{plans.epoch_length()} steps",
        "model.pretrained": hash_pretrained(settings.model.pretrained, settings.out),
    }
    stage = Stage(settings.out, "pretrain", plain(asked), inputs, FREE_HERE, WHOLE, FIXED_HERE)
    engine = launch(settings.engine, broadcast_buffers=False)  # all processes have the same queue, which is large
    if claim_folder(stage, settings, images):
        return settings.out
    _warn_of_own_keys(settings, len(images))

    # Model and loss
    resumed = has_checkpoint(settings.out)
    origin = _find_origin(settings, images, resumed=resumed)
    seed_weights(settings)
    encoder = _build_encoder(settings, origin, resumed=resumed)
    task = ContrastTask(encoder, settings.contrast, settings.sampler.accumulate)

    def save(folder: Path, figures: Mapping[str, float]) -> list[Path]:
        return save_model(folder, task.encoder, _describe_run(images, figures, settings, origin))

    # Loop
    training = build_training(
        task,
        lambda: build_optimizer(encoder.backbone, [task.contrast.projection], settings.optimizer),
        _prepare_batches(settings, images, encoder, pairs),
        plans,
        _resolve(settings),
        engine,
        workers=settings.data.workers,
        name=images.name,
        score=_build_score(encoder, images, probe, engine.fabric.device),
        save=save,
        description=describe(encoder, _describe_run(images, {}, settings, origin), "contrast.encoder"),
        pretrained=[encoder.backbone],
    )
    full = plans.epoch_length() + math.ceil(settings.contrast.queue / settings.sampler.batch)  # steps
    training = replace(
        training,
        watch=lambda step, means: warn_of_failure(means, filled=step >= full),
        prepare=task.set_progress,
    )
    state = train_marking_best(training, engine, probe.name if probe else "")
    counts = {"images": len(images), "parameters": parameter_count(encoder)}
    finish_training(stage, save, state, counts, began, [settings.out / ORIGIN])
    return settings.out


def _fit_batch(settings: PretrainSettings, images: JoinedImages) -> PretrainSettings:
    """Return the settings with a batch that the images can fill."""
    devices, group = settings.engine.devices, settings.contrast.norm_group
    settings = replace(settings, sampler=fit_batch(settings.sampler, len(images), devices=devices, group=group))
    if len(images) < settings.sampler.batch:
        raise UserError(
            "--sampler.batch",
            expected=f"at most the {quantity(len(images), 'images')}"
            + (f" that --data.share {settings.data.share:g} leaves" if settings.data.share < 1 else ""),
            got=str(settings.sampler.batch),
            fix="Pass a smaller batch, or more images.",
        )
    one_pass = settings.sampler.batch // (settings.engine.devices * settings.sampler.accumulate)
    if settings.contrast.norm_group and one_pass % settings.contrast.norm_group:
        raise UserError(
            "--contrast.norm_group",
            expected=f"a divisor of the {one_pass} images of one forward pass on one device",
            got=str(settings.contrast.norm_group),
            fix="Choose a batch that is a multiple of devices x accumulate x norm_group, or another group; "
            "0 where the network has no batch normalisation.",
        )
    return settings


def _pair_tracks(settings: PretrainSettings, images: JoinedImages) -> TrackPairs | None:
    """Return the pairs of images of one track, if wanted, and say how many images have one."""
    if settings.contrast.positives != "track":
        return None
    tracks, apart = images.tracks(), settings.contrast.apart
    pairs = TrackPairs(tracks, apart)
    if pairs.counts.alone == len(images):
        raise UserError(
            "--contrast.positives track",
            expected="tracks of two images or more",
            got=f"none in {images.summary()}",
            fix="Make the crop set with `rewho crop --tracking.kind motion` and dense sampling, or pass a CSV "
            "list with a column track, or leave the option out.",
        )
    numbers = np.unique(tracks.numbers[tracks.numbers >= 0])
    say(
        f"tracks: {len(numbers):,}; {pairs.counts.apart:,} images pair with one at least {apart:g} s away, "
        f"{pairs.counts.near:,} with a nearer one of their track, {pairs.counts.alone:,} with themselves"
    )
    return pairs


def _warn_of_own_keys(settings: PretrainSettings, images: int) -> None:
    if settings.contrast.positives == "track":  # keys of an image's own track are no negatives
        return
    queue, batch = settings.contrast.queue, settings.sampler.batch
    if queue + batch > images:
        say(
            f"warning: a queue of {queue:,} and a batch of {batch:,} are more than the {images:,} images, so that "
            "images see their own earlier keys as negatives; pass a shorter --contrast.queue"
        )


def _read_probe(settings: PretrainSettings) -> ImageTable | None:
    reading = settings.probe
    if reading.root is None:
        return None
    for name, given in (("share", reading.share != 1), ("share_list", reading.share_list is not None)):
        if given:
            expected = "no share: it selects training images, which a probe does not use"
            fix = "Leave it out. --probe.hold_out 100 makes a smaller probe of 100 training people."
            raise UserError(f"--probe.{name}", expected=expected, got=str(getattr(reading, name)), fix=fix)
    with rename_options({"--data.root": "--probe", "--data.": "--probe."}):
        table = read_settings(reading)
    if not has_test_part(table):
        expected = "a data set with a query and a gallery"
        fix = "Pass --probe.hold_out 100 to make them of 100 of its people, or choose another."
        raise UserError("--probe", expected=expected, got=f"one without: {table.name}", fix=fix)
    return table


def _find_origin(settings: PretrainSettings, images: JoinedImages, *, resumed: bool) -> Origin:
    """Return where the first weights come from and the images' mean and deviation, computed once per run."""
    written = settings.out / ORIGIN

    def find_out() -> Origin:
        if resumed and written.is_file():
            return read_origin(settings.out)
        origin = find_origin(settings.model)
        if not (settings.model.pixel_mean and settings.model.pixel_std):
            count = settings.data.statistics_of
            progress = Progress("pixel statistics", min(count or len(images), len(images)), unit="images")
            mean, std = channel_statistics(images, count, progress.advance)
            progress.close()
            origin = replace(
                origin,
                mean=origin.mean if settings.model.pixel_mean else mean,
                std=origin.std if settings.model.pixel_std else std,
            )
        write_json(written, origin)
        return origin

    return on_main_process(find_out)


def _build_encoder(settings: PretrainSettings, origin: Origin, *, resumed: bool) -> SingleViewModel:
    wanted: ModelSettings = replace(settings.model, extra_bn="no")
    model = build_initial_model(wanted, view_of_settings(wanted).size, origin)
    if not resumed:
        say(load_initial_weights(model))
    mean, std = (", ".join(f"{value:.4f}" for value in values) for values in (origin.mean, origin.std))
    say(f"pixels: mean {mean}; standard deviation {std}")
    return model.to(memory_format=torch.channels_last)


def _prepare_batches(
    settings: PretrainSettings, images: JoinedImages, encoder: SingleViewModel, pairs: TrackPairs | None
) -> ContrastPreparation:
    progress = Progress("read images", len(images), unit="images")
    hold_in_memory(images, settings.data.memory_gb, lambda done, _all: progress.advance(done - progress.done))
    progress.close()
    colour = tuple(encoder.mean.tolist())
    return ContrastPreparation(images, encoder.input_size, settings.augment, settings.seed, colour, pairs)


def _build_score(
    encoder: SingleViewModel, images: JoinedImages, probe: ImageTable | None, device: torch.device
) -> Callable[[StopRequest], Mapping[str, float] | None]:
    """Return the function that scores the encoder on the probe at the end of epochs."""
    seen = _count_probed_images(images, probe)
    if seen:
        say(f"warning: {seen:,} test images of --probe are trained on, so its scores are inflated")

    def score(stop: StopRequest) -> Mapping[str, float] | None:
        scores = score_test_part(encoder, probe, device, stop, "probe") if probe else None
        return scores | {"images_trained_on": seen} if scores and seen else scores

    return score


def _count_probed_images(images: JoinedImages, probe: ImageTable | None) -> int:
    """Return how many images of the probe's test part are trained on."""
    if probe is None:
        return 0
    tested = probe.in_split("query") | probe.in_split("gallery")
    return count_files_of(images, probe.root, [probe.paths[row] for row in np.flatnonzero(tested)])


def _build_plans(settings: PretrainSettings, images: JoinedImages) -> PlanStream:
    labels = np.zeros(len(images), np.int64)  # the plan only uses their number
    return PlanStream(settings.sampler, labels, settings.seed, settings.epochs, settings.steps_per_epoch)


def _resolve(settings: PretrainSettings) -> PretrainSettings:
    """Return the settings with the learning rate scaled to the batch, and no spike check while the queue fills."""
    batch, reference = settings.sampler.batch, settings.contrast.reference_batch
    rate = settings.optimizer.learning_rate * (batch / reference if reference else 1)
    patience = QUEUE_FILLS * math.ceil(settings.contrast.queue / batch) + settings.checkpoint.spike_after
    return replace(
        settings,
        optimizer=replace(settings.optimizer, learning_rate=rate),
        checkpoint=replace(settings.checkpoint, spike_after=patience),
    )


def _describe_run(
    images: JoinedImages, figures: Mapping[str, Any], settings: PretrainSettings, origin: Origin
) -> ModelCard:
    provenance = {
        **origin.provenance,
        "method": "momentum contrast (MoCo v2)",
        "labels": False,
        "contrast": asdict(settings.contrast),
        "augment": asdict(settings.augment),
        "optimizer": asdict(_resolve(settings).optimizer),
        "batch": settings.sampler.batch,
        "accumulate": settings.sampler.accumulate,
        "epochs": settings.epochs,
        "steps": len(_build_plans(settings, images)),
        "seed": settings.seed,
    }
    trained_on = {"name": "images without labels", "images": len(images), "sha256": images.digest}
    trained_on |= {"share": settings.data.share, "share_seed": settings.data.share_seed}
    trained_on |= {"sources": images.about}
    licences = {name or ModelCard.licence for source in images.about for name in source.get("licences", [""])}
    metrics = {"probe": dict(figures)} if figures else {}
    return ModelCard(trained_on, ", ".join(sorted(licences)), metrics, provenance)
