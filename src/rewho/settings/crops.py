"""Settings of `crop`, which makes a crop set, and of `crops`, which looks after one."""

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
)
from rewho.settings.fields import Mistake, Only, Processes, Range, Share, SomeShare

Encoding = Literal["jpeg", "png"]
ExportLayout = Literal["market", "webdataset", "jpeg"]
NearDuplicates = Literal["keep", "video", "set"]
CropEngine = Literal["processes", "ray"]


@dataclass(frozen=True)
class TermsSettings:
    """Under which terms the videos may be used; each must be given, on the command line or in a recipe.

    Args:
        name: What the crop set is called.
        source: Where the videos come from.
        licence: Identifier of their licence, such as CC-BY-4.0; a CSV file's column `licence` goes before it.
        purpose: What the crops will be used for.
        legal_basis: On what legal ground people's images are processed, such as consent or research.
        contact: Who answers for the set, and whom people in it can write to.
        retention: How long the crops will be kept, and what happens then.
    """

    name: str = ""
    source: str = ""
    licence: str = ""
    purpose: str = ""
    legal_basis: str = ""
    contact: str = ""
    retention: str = ""


@dataclass(frozen=True)
class SelectionSettings:
    """Which of the kept crops enter the set. The paper takes them all.

    Args:
        near_duplicates: keep, video (of nearly equal crops in one video the first stays) or set (across all videos).
        distance: Bits of 256 in which the fingerprints of near-duplicates may differ.
        most_per_video: Most crops of one video, the best by quality; 0 takes all.
        share: Share of the crops to keep, the best by quality, above 0, at most 1.
    """

    near_duplicates: NearDuplicates = "keep"
    distance: Annotated[int, Range(0, 256)] = 24
    most_per_video: Annotated[int, Range(0, 2**31)] = 0
    share: SomeShare = 1.0


@dataclass(frozen=True)
class CropSettings:
    """Everything that `rewho crop` does.

    Args:
        videos: Video files, folders of them, .txt files with one path per line, or .csv files with a column `path` and
            optionally key, city, source, licence.
        out: Folder of the crop set.
        terms: Under which terms.
        sampling: Which frames are looked at.
        screen: Which videos are refused as a whole.
        limits: What one video may cost.
        detector: What finds people.
        pose: What finds their keypoints.
        rules: Which boxes are kept.
        selection: Which of the kept crops enter the set.
        encoding: jpeg (without chroma subsampling) or png (without loss).
        jpeg_quality: Quality of the JPEG images, 1 to 100.
        blur_stored: Hide faces in the stored crops too. What is shown or exported hides them in any case.
        workers: Processes that work on one video each, with one thread unless --detector.threads and --pose.threads say
            otherwise; 0 works in the main process, without protection from crashes.
        shard: Work on part i of n of the videos only, written i/n, with the same folder for all parts; whoever ends
            last joins them.
        engine: processes (this machine) or ray (a cluster, all of whose machines see the videos and `out`).
        address: Address of the Ray cluster; empty starts one on this machine.
        gpus: With `engine: ray`, what each worker has of GPUs: 0, a share of one such as 0.25 (four workers on each),
            or a whole number. Detector and keypoint model run there where their device is auto or cuda.
        failure_limit: Largest share of videos that may fail; beyond, the run ends with an error, by reason. Videos that
            the screen refuses are no failures.
        retry: Work again on videos that ended their process in an earlier run, and in an unfinished set on those that
            failed.
        explain: Sample frames drawn with all boxes and the reasons of those refused, written to explained/.
    """

    videos: tuple[Path, ...] = ()
    out: Path = Path("crops")
    terms: TermsSettings = field(default_factory=TermsSettings)
    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    screen: ScreenSettings = field(default_factory=ScreenSettings)
    limits: LimitSettings = field(default_factory=LimitSettings)
    detector: DetectorSettings = field(default_factory=DetectorSettings)
    pose: PoseSettings = field(default_factory=PoseSettings)
    rules: RuleSettings = field(default_factory=RuleSettings)
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

    def mistakes(self) -> Iterator[Mistake]:
        """Yield what is wrong between fields."""
        if self.gpus > 1 and self.gpus != int(self.gpus):  # which Ray cannot give
            yield Mistake("gpus", "a share of one GPU, or a whole number", "Pass {at}gpus 1.")
        if self.gpus and self.engine != "ray":
            yield Mistake("gpus", f"0 with --engine {self.engine}", "Leave it out, or pass {at}engine ray.")


@dataclass(frozen=True)
class CropsSettings:
    """Look after crop sets: `rewho crops verify|stats|merge|export|overlap FOLDER …`.

    Args:
        action: verify (read every byte and name what is damaged), stats (print the figures of a set), merge (write
            several sets as one), export (write a set as images, for other programs) or overlap (list near-duplicates
            that two sets share).
        folders: The crop sets.
        out: The folder to write, or the tar file for webdataset.
        layout: Market (one person's number per video), webdataset (a tar file) or jpeg (plain folder).
        blur_faces: Hide faces in the images.
        repair: Build what is damaged again, and only that, from the videos.
        distance: Bits of 256 in which the fingerprints of near-duplicates may differ.
    """

    action: Literal["verify", "stats", "merge", "export", "overlap"] = "stats"
    folders: tuple[Path, ...] = ()
    out: Annotated[Path, Only("merge", "export")] = Path("runs/crops")
    layout: Annotated[ExportLayout, Only("export")] = "jpeg"
    blur_faces: Annotated[bool, Only("export")] = True
    repair: Annotated[bool, Only("verify")] = False
    distance: Annotated[int, Range(0, 256), Only("overlap")] = 24
