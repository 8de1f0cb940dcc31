"""Run the whole pipeline on rendered people, as two chapters of stages; finished stages are skipped.

Distillation: teachers of body parts at larger sizes teach a student of small images, which then searches a gallery of
four cameras. Few labels: pre-train on crops of
rendered streets (ground truth replaces the detector), then train on few labels, with and without the pre-training.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from rewho.core.artifact import ASIDE
from rewho.core.check import UserError
from rewho.core.invocation import COMMAND_FILE
from rewho.core.lock import LOCK, hold, release_locks
from rewho.core.progress import Progress, say
from rewho.core.runtime import run_in_processes
from rewho.rendered import write_people, write_street
from rewho.settings import (
    AugmentSettings,
    BranchSettings,
    ContrastAugmentSettings,
    ContrastSettings,
    CropSettings,
    DataSettings,
    DemoSettings,
    DetectorSettings,
    DistillSettings,
    EvaluateDataSettings,
    EvaluateSettings,
    LossSettings,
    MimicSettings,
    ModelSettings,
    OptimizerSettings,
    PoseSettings,
    PretrainDataSettings,
    PretrainSettings,
    RepresentSettings,
    RuleSettings,
    SamplerSettings,
    SamplingSettings,
    ScreenSettings,
    TeachersSettings,
    TermsSettings,
    TrainSettings,
)
from rewho.settings.fields import check
from rewho.stages import crop, distill, evaluate, pretrain, represent, teachers, train
from rewho.stages.demo_gallery import build_gallery

OWN = ("people", "few-labels")  # what the chapters begin with
TEST_IDENTITIES = 60
CAMERAS = 4
VIEWS = ("holistic", "up2", "dn2")
AUGMENT = AugmentSettings(crop_padding=4, erase=0.3, erase_area_high=0.3)
OPTIMIZER = OptimizerSettings(learning_rate=0.05, nesterov=True, schedule="cosine", warmup_epochs=1)
LOSS = LossSettings(label_smoothing=0.1)

LABELLED = 10  # few labels: one in this many people has a label
# Frames 5 s apart give most people at most two crops; pre-training treats each crop as another person.
STREETS, SECONDS, FRAMES_PER_SECOND, WALKERS, FRAME = 4, 300.0, 0.2, 500, (360, 640)
SMALL = ModelSettings(backbone="test_resnet", pooling="gap", input_size=(64, 32), pretrained="none")
TERMS = TermsSettings(
    "rendered-streets", "rewho's renderer", "CC0-1.0", "the demo", "nobody in it exists", "nobody", "as you like"
)


@run_in_processes
@release_locks
def run(settings: DemoSettings) -> Path:
    """Run a chapter; return the report's page."""
    check(settings)
    _refuse_foreign(settings.out)
    hold(settings.out / LOCK, f"--out {settings.out}")
    page = {"distillation": _distillation, "few-labels": _few_labels}[settings.chapter](settings)
    say("open this page in a browser:")
    return page


def _refuse_foreign(folder: Path) -> None:
    """Refuse a folder with files of others: every stage of a chapter has a folder in it."""
    entries = [path.name for path in sorted(folder.iterdir())] if folder.is_dir() else []
    others = [name for name in entries if name != COMMAND_FILE and not name.startswith((ASIDE, LOCK))]
    if others and not any(name in OWN for name in others):
        raise UserError(
            f"--out {folder}",
            expected="a new or empty folder, or one of an earlier `rewho demo`",
            got=f"a folder with other files, such as {others[0]!r}",
            fix="Choose another folder with --out.",
        )


def _distillation(settings: DemoSettings) -> Path:
    """Evaluate a student before and after its distillation, and let it search a gallery."""
    people = _render(settings)
    before = train.run(initial_student(people, settings))
    experts = teachers.run(experts_of(people, settings))
    out = settings.out / "representations"
    representations = represent.run(RepresentSettings(teachers=(experts,), out=out, data=_data(people)))
    after = distill.run(distillation(people, before, representations, settings))
    report = settings.out / "report"
    page = evaluate.run(
        EvaluateSettings(model=(before, after), data=EvaluateDataSettings((people,)), out=report, rerank=True)
    )
    build_gallery(settings.out, after, TERMS, settings.seed)
    return page


def _few_labels(settings: DemoSettings) -> Path:
    """Evaluate a network trained on a few labelled people, with and without pre-training on crops of streets."""
    identities = max(2, round(settings.identities / LABELLED))
    settings = replace(settings, out=settings.out / "few-labels", identities=identities)
    crops = crop.run(cut_out(_streets(settings), settings))
    people = _render(settings)
    encoder = pretrain.run(encoder_of(crops, settings))
    models = [
        train.run(few_labels(people, origin, settings.out / name, settings))
        for name, origin in (("from-nothing", "none"), ("from-encoder", encoder.as_posix()))
    ]
    return evaluate.run(
        EvaluateSettings(model=tuple(models), data=EvaluateDataSettings((people,)), out=settings.out / "report")
    )


def _render(settings: DemoSettings) -> Path:
    progress = Progress("render people", 0, unit="images")

    def show(done: int, total: int) -> None:
        progress.total = total
        progress.advance(done - progress.done)

    folder = write_people(
        settings.out / "people",
        identities=settings.identities,
        test_identities=TEST_IDENTITIES,
        cameras=CAMERAS,
        seed=settings.seed,
        progress=show,
    )
    progress.close()
    return folder


def _data(people: Path) -> DataSettings:
    return DataSettings(root=people, workers=0)  # small images: starting workers costs more than they save


def initial_student(people: Path, settings: DemoSettings) -> TrainSettings:
    """Return settings of a one-minute training; SqueezeNet lacks BN and does not learn from random weights."""
    return TrainSettings(
        out=settings.out / "model",
        data=_data(people),
        model=ModelSettings(backbone="resnet10t", embedding=256, input_size=(64, 32), pretrained="none"),
        augment=AUGMENT,
        sampler=SamplerSettings(batch=32),
        optimizer=OPTIMIZER,
        loss=LOSS,
        epochs=settings.epochs,
        evaluate_every=-1,  # the report scores it
        seed=settings.seed,
    )


def experts_of(people: Path, settings: DemoSettings) -> TeachersSettings:
    """Return settings of three teachers: the whole body, its upper and its lower part, in larger images."""
    return TeachersSettings(
        out=settings.out / "teachers",
        data=_data(people),
        views=VIEWS,
        backbone="resnet10t",
        pretrained="none",
        holistic_size=(96, 48),
        partial_size=(64, 64),
        holistic_embedding=256,
        partial_embedding=128,
        holistic_augment=AUGMENT,
        partial_augment=AUGMENT,
        sampler=SamplerSettings(batch=32),
        optimizer=OPTIMIZER,
        loss=LOSS,
        epochs=max(1, settings.epochs - 3),  # enough to be better than the student
        evaluate_every=-1,
        seed=settings.seed,
    )


def distillation(people: Path, student: Path, representations: Path, settings: DemoSettings) -> DistillSettings:
    """Return settings of a short distillation; losses are means over dimensions, so that few epochs suffice."""
    return DistillSettings(
        student=student,
        representations=representations,
        out=settings.out / "distilled",
        data=_data(people),
        augment=replace(AUGMENT, crop_padding=0),
        sampler=SamplerSettings(batch=32),
        optimizer=replace(OPTIMIZER, learning_rate=0.03),
        loss=LOSS,
        mimic=MimicSettings(distance="mean"),
        branches=BranchSettings(features=128),
        epochs=settings.epochs,
        evaluate_every=-1,  # the report scores it
        seed=settings.seed,
    )


def _streets(settings: DemoSettings) -> Path:
    """Render the streets that are missing, with their ground truth."""
    folder = settings.out / "videos" / f"seed-{settings.seed}"
    progress = Progress("render streets", STREETS, unit="videos")
    for number in range(1, STREETS + 1):
        path = folder / f"street-{number}.mp4"
        if not path.exists():
            write_street(path, SECONDS, FRAMES_PER_SECOND, WALKERS, FRAME, seed=1000 * settings.seed + number)
        progress.advance(1)
    progress.close()
    return folder


def cut_out(streets: Path, settings: DemoSettings) -> CropSettings:
    """Return settings that crop everyone large and visible enough in the ground truth."""
    return CropSettings(
        videos=(streets,),
        out=settings.out / "crops",
        terms=TERMS,
        sampling=SamplingSettings(every=1),
        screen=ScreenSettings(min_frames=10),
        detector=DetectorSettings(kind="replay"),
        pose=PoseSettings(kind="detector"),
        rules=RuleSettings(min_width=24, min_confidence=0.6),
        workers=0,  # the videos are our own
    )


def encoder_of(crops: Path, settings: DemoSettings) -> PretrainSettings:
    """Return settings of a pre-training that takes two minutes on one core.

    So few steps need Adam, a normalised projection head, a low momentum, a short queue and easy views. The jitter is
    as large as the difference between cameras: without it the encoder recognised a crop by the colours of its place.
    """
    return PretrainSettings(
        out=settings.out / "encoder",
        data=PretrainDataSettings((crops,), workers=0),
        model=replace(SMALL, head="none"),
        contrast=ContrastSettings(temperature=0.1, queue=256, momentum=0.9, head_norm=True, reference_batch=0),
        augment=ContrastAugmentSettings(
            crop_area_low=0.5,
            crop_ratio_low=0.375,
            crop_ratio_high=2 / 3,
            jitter=0.8,
            jitter_strength=0.3,
            jitter_hue=0.03,
            grayscale=0.0,
            erase_area_high=0.4,
        ),
        sampler=SamplerSettings(batch=64),
        optimizer=OptimizerSettings(
            kind="adam", learning_rate=0.001, weight_decay=1e-4, schedule="cosine", warmup_epochs=0.5
        ),
        epochs=3 * settings.epochs,
        evaluate_every=-1,
        seed=settings.seed,
    )


def few_labels(people: Path, origin: str, out: Path, settings: DemoSettings) -> TrainSettings:
    """Return settings of a training on a few labelled people, the same for every initialisation.

    Adam is better here than SGD, which at one learning rate changes pre-trained weights more slowly than random ones.
    """
    return TrainSettings(
        out=out,
        data=_data(people),
        model=replace(SMALL, embedding=256, pretrained=origin),
        augment=AUGMENT,
        sampler=SamplerSettings(batch=32),
        optimizer=OptimizerSettings(kind="adam", learning_rate=0.001, schedule="cosine", warmup_epochs=1),
        loss=LOSS,
        epochs=5 * settings.epochs,
        evaluate_every=-1,
        seed=settings.seed,
    )
