"""Settings of `rewho run`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from rewho.settings.fields import Command, Mistake, Range, YesNoAuto

YAML = (".yaml", ".yml")


@dataclass(frozen=True)
class RunSettings:
    """Settings of `rewho run`.

    Args:
        videos: Videos and photographs to crop people out of, or folders of them; or one YAML file with these settings
            and a section per command, such as `crop:`.
        out: Folder of the run, with a sub-folder per step and the page.
        terms: YAML file with the legal terms of the videos, as `rewho crop --new-terms` writes it.
        crops: Images of one person each, without labels: folders, crop sets.
        data: Labelled data set, to train and test on.
        hold_out: Number of labelled people to test on, where the data set has no test part.
        model: Model to begin from.
        detector: Person detector: a name of `rewho models`, an ONNX file, or a kind of `rewho crop --detector`; auto is
            the best that is downloaded, or else hog.
        pose: Keypoint model, likewise; auto is mediapipe-pose if it is downloaded, or else none.
        seconds: Seconds between two frames looked at. Tracks need one second or less.
        pretrain: Pre-train on the images without labels before training with labels.
        adapt: Adapt the model to the images without labels: it takes its time, and gains much where people come back.
        distill: Train teachers and distil them into the model.
        export: Write the model as an ONNX file; auto does if the run made one.
        override: Settings of single steps, such as train.epochs=10.
        plan: Print which steps are finished and what the others would take, and run none.
    """

    command = Command(
        "run",
        "run all steps from videos, images or labelled people to a gallery and a model; skip what is done",
        "videos",
        again=True,
        examples=(
            "run videos --terms terms.yaml --plan",
            "run videos --terms terms.yaml --out runs/shop",
            "run project.yaml",
        ),
    )

    videos: tuple[Path, ...] = ()
    out: Path = Path("runs/run")
    terms: Path | None = None
    crops: tuple[Path, ...] = ()
    data: Path | None = None
    hold_out: Annotated[int, Range(0)] = 0
    model: Path = Path("starter")
    detector: str = "auto"
    pose: str = "auto"
    seconds: Annotated[float, Range(0.001, 3600)] = 0.5
    pretrain: bool = False
    adapt: bool = False
    distill: bool = False
    export: YesNoAuto = "auto"
    override: tuple[str, ...] = ()
    plan: bool = False

    @property
    def project_file(self) -> Path | None:
        """The project file that is given in place of videos."""
        return self.videos[0] if len(self.videos) == 1 and self.videos[0].suffix.lower() in YAML else None

    def mistakes(self) -> Iterator[Mistake]:
        """Yield steps that have nothing to work on; beside a project file that is known when it was read."""
        if self.project_file:
            return
        if self.distill and self.data is None:
            yield Mistake("distill", "false without labelled people", "Pass {at}data, or leave it out.")
        if self.pretrain and self.data is None:
            fix = "Pass {at}data, or use `rewho pretrain` alone."
            yield Mistake("pretrain", "false without labelled people to train on afterwards", fix)
        for option in ("pretrain", "adapt"):
            if getattr(self, option) and not (self.videos or self.crops):
                yield Mistake(option, "false without videos or --crops", "Pass some, or leave it out.")
        if self.hold_out and self.data is None:
            yield Mistake("hold_out", "0 without labelled people", "Pass {at}data, or leave it out.")
