"""Settings of `rewho table`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from rewho.settings.fields import Seed
from rewho.settings.parts import DataSettings, EngineSettings


@dataclass(frozen=True)
class TableSettings:
    """Everything that `rewho table` does: run what a paper's table needs, and print our figures beside the paper's.

    Args:
        name: A table's name, such as fd7, or a YAML file that describes one.
        data: Which images. `root` is the first data set; the other options hold for all data sets.
        others: Folders of further data sets: more columns of the table.
        crops: For tables with pre-training: folders of images without labels.
        out: Folder for the runs, a sub-folder per data set, and for the tables. Tables that share it share runs.
        rows: Labels of the rows to run; empty runs all.
        override: Settings for all steps of a stage, such as distill.epochs=10: the result is no longer the paper's.
        use: Folders that exist already, as STEP=FOLDER: that step is not run.
        plan: Say which runs are finished and which are missing, and run none.
        smoke: The small variant on rendered people, which shows in a minute or two that all of it works.
        engine: Where it is computed.
        seed: Seed of every step.
    """

    name: str = ""
    data: DataSettings = field(default_factory=DataSettings)
    others: tuple[Path, ...] = ()
    crops: tuple[Path, ...] = ()
    out: Path = Path("runs/tables")
    rows: tuple[str, ...] = ()
    override: tuple[str, ...] = ()
    use: tuple[str, ...] = ()
    plan: bool = False
    smoke: bool = False
    engine: EngineSettings = field(default_factory=EngineSettings)
    seed: Seed = 1
