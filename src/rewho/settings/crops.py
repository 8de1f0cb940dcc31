"""Settings of `rewho crop` and `rewho crops`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from rewho.settings.crop import (
    DetectorSettings,
    LimitSettings,
    PoseSettings,
    RuleSettings,
    SamplingSettings,
    ScreenSettings,
    TrackingSettings,
)
from rewho.settings.fields import Command, Mistake, Only, Processes, Range, Share, SomeShare

Encoding = Literal["jpeg", "png"]
ExportLayout = Literal["market", "folder", "webdataset", "jpeg"]
ExportPeople = Literal["video", "track"]
NearDuplicates = Literal["keep", "video", "set"]
CropEngine = Literal["processes", "ray"]
ACTIONS = {
    "verify": "read every byte and list what is damaged",
    "stats": "print the figures of a set",
    "merge": "write several sets as one",
    "export": "write a set as images, for other programs",
    "overlap": "list the near-duplicates that two sets share",
    "forget": "erase crops from sets and prove that they are gone; finish an interrupted erasure",
}


@dataclass(frozen=True)
class TermsSettings:
    """Legal terms of the videos; each is required, on the command line, in a recipe or in a file.

    Args:
        file: YAML file with the terms, as `--new-terms` writes it; terms that are given otherwise too are not read.
        name: Name of the crop set.
        source: Source of the videos.
        licence: Identifier of their licence, such as CC-BY-4.0; a CSV file's column `licence` overrides it.
        purpose: Purpose of the crops.
        legal_basis: Legal basis for processing images of people, such as consent or research.
        contact: Who is responsible for the set, and whom people in it can write to.
        retention: How long the crops are kept, and what happens afterwards.
    """

    name: str = ""
    source: str = ""
    licence: str = ""
    purpose: str = ""
    legal_basis: str = ""
    contact: str = ""
    retention: str = ""
    file: Path | None = None


@dataclass(frozen=True)
class SelectionSettings:
    """Which of the kept crops enter the set. The paper keeps all.

    Args:
        near_duplicates: keep (all of them), video (keep the first of the near-duplicates within each video) or set
            (the same across all videos).
        distance: Largest number of differing bits (of 256) between the fingerprints of near-duplicates.
        most_per_video: Most crops per video, the best by quality; 0 keeps all.
        share: Fraction of the crops to keep, the best by quality, above 0, at most 1.
    """

    near_duplicates: NearDuplicates = "keep"
    distance: Annotated[int, Range(0, 256)] = 24
    most_per_video: Annotated[int, Range(0, 2**31)] = 0
    share: SomeShare = 1.0


@dataclass(frozen=True)
class CropSettings:
    """Settings of `rewho crop`.

    Args:
        videos: Video files and photographs, folders of them, .txt files with one path per line, or .csv files with a
            column `path` and optionally key, city, source, licence.
        out: Folder of the crop set.
        new_terms: Only write a form for the legal terms into this file, to be filled in and passed as --terms.
        terms: Legal terms of the videos.
        sampling: Which frames are used.
        screen: Which videos are rejected as a whole.
        limits: Limits for one video.
        detector: Person detector.
        pose: Keypoint estimator.
        rules: Which boxes are kept.
        tracking: Which crops show one person in neighbouring frames.
        selection: Which kept crops enter the set.
        encoding: jpeg (without chroma subsampling) or png (lossless).
        jpeg_quality: JPEG quality, 1 to 100.
        blur_stored: Blur faces in the stored crops too. Faces in reports and exports are blurred in any case.
        workers: Processes, each working on one video with one thread unless --detector.threads and --pose.threads say
            otherwise; 0 works in the main process, without protection from crashes.
        shard: Process only part i of n of the videos, written i/n, with the same folder for all parts; the part that
            ends last joins them.
        engine: processes (this machine) or ray (a cluster whose machines all see the videos and `out`).
        address: Address of the Ray cluster; empty starts one on this machine.
        gpus: With `engine: ray`, GPUs per worker: 0, a fraction of one such as 0.25 (four workers per GPU), or a whole
            number. Detector and keypoint model use it if their device is auto or cuda.
        failure_limit: Largest fraction of videos that may fail before the run fails. Videos that the screen rejects
            are no failures.
        retry: Retry videos that crashed their process in an earlier run and, in an unfinished set, those that failed.
        explain: Number of sample frames to draw with all boxes and the reasons of rejected ones, in explained/.
        reuse: Finished crop set of the same settings; its videos are taken from there instead of processed again.
    """

    command = Command(
        "crop",
        "detect people in videos and photographs and write a crop set with the source of every crop",
        "videos",
        common="videos out terms.file new_terms detector.kind detector.weights pose.kind pose.weights "
        "sampling.by sampling.every sampling.seconds device workers explain retry",
        examples=(
            "crop --new-terms terms.yaml",
            "crop walk.mp4 --terms terms.yaml --detector yolox-s --pose mediapipe-pose",
            "crop videos --terms terms.yaml --detector keypoint_rcnn --pose detector --workers 4",
            "crop videos --recipe luperson/crops --out crops --explain 20",
        ),
        short={"device": "detector.device pose.device"},
    )

    videos: tuple[Path, ...] = ()
    out: Path = Path("runs/crop")
    new_terms: Path | None = None
    terms: TermsSettings = field(default_factory=TermsSettings)
    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    screen: ScreenSettings = field(default_factory=ScreenSettings)
    limits: LimitSettings = field(default_factory=LimitSettings)
    detector: DetectorSettings = field(default_factory=DetectorSettings)
    pose: PoseSettings = field(default_factory=PoseSettings)
    rules: RuleSettings = field(default_factory=RuleSettings)
    tracking: TrackingSettings = field(default_factory=TrackingSettings)
    selection: SelectionSettings = field(default_factory=SelectionSettings)
    encoding: Encoding = "jpeg"
    jpeg_quality: Annotated[int, Range(1, 100)] = 95
    blur_stored: bool = False
    workers: Processes = 1
    shard: str = "1/1"
    engine: CropEngine = "processes"
    address: str = ""
    gpus: Annotated[float, Range(0, 64)] = 0.0
    failure_limit: Share = 0.5
    retry: bool = False
    explain: Annotated[int, Range(0, 1_000)] = 0
    reuse: Path | None = None

    def mistakes(self) -> Iterator[Mistake]:
        """Yield broken rules between fields."""
        if self.gpus > 1 and self.gpus != int(self.gpus):  # which Ray cannot give
            yield Mistake("gpus", "a share of one GPU, or a whole number", "Pass {at}gpus 1.")
        if self.gpus and self.engine != "ray":
            yield Mistake("gpus", f"0 with --engine {self.engine}", "Leave it out, or pass {at}engine ray.")
        if self.tracking.kind == "file" and self.detector.kind != "replay":
            fix = "Pass {at}detector.kind replay, or {at}tracking.kind motion."
            yield Mistake("tracking.kind", "none or motion without a file of detections", fix)


@dataclass(frozen=True)
class CropsSettings:
    """Settings of `rewho crops`.

    Args:
        action: verify, stats, merge, export, overlap or forget.
        folders: Crop sets.
        out: Folder to write, or the tar file for webdataset.
        layout: market (Market-1501's names), folder (one per person), webdataset (a tar file) or jpeg (plain folder).
        people: With `layout` market or folder, what stands for a person: video or track (the videos are then cameras).
        blur_faces: Blur faces in the exported images.
        repair: Rebuild damaged parts, and only these, from the videos.
        distance: Largest number of differing bits (of 256) between the fingerprints of near-duplicates.
        names: Names of crops to forget.
        videos: Videos whose crops to forget, those left out of the set too: file name, path, or digits of the hash.
        tracks: Tracks to forget, as a video, a colon and the track's number, such as street.mp4:3.
        runs: Folder below which models that were trained on the sets are looked for.
    """

    command = Command(
        "crops",
        "verify, count, merge, export or compare crop sets, or forget crops",
        "action folders",
        ACTIONS,
        again=True,
        examples=(
            "crops stats crops",
            "crops verify crops --repair",
            "crops export crops --out images --layout market",
            "crops merge monday tuesday --out both",
            "crops overlap monday tuesday",
            "crops forget monday tuesday --videos street.mp4",
        ),
        required="folders",
    )

    action: Literal["verify", "stats", "merge", "export", "overlap", "forget"] = "stats"
    folders: tuple[Path, ...] = ()
    out: Annotated[Path, Only("merge", "export")] = Path("runs/crops")
    layout: Annotated[ExportLayout, Only("export")] = "jpeg"
    people: Annotated[ExportPeople, Only("export")] = "video"
    blur_faces: Annotated[bool, Only("export")] = True
    repair: Annotated[bool, Only("verify")] = False
    distance: Annotated[int, Range(0, 256), Only("overlap")] = 24
    names: Annotated[tuple[str, ...], Only("forget")] = ()
    videos: Annotated[tuple[str, ...], Only("forget")] = ()
    tracks: Annotated[tuple[str, ...], Only("forget")] = ()
    runs: Annotated[Path, Only("forget")] = Path("runs")

    def mistakes(self) -> Iterator[Mistake]:
        """Yield broken rules between fields."""
        if self.people == "track" and self.layout not in ("market", "folder"):
            fix = "Leave it out, or pass {at}layout folder."
            yield Mistake("people", f"video with --layout {self.layout}, which has no people", fix)
