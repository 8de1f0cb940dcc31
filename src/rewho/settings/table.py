"""Settings of `rewho table`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from rewho.settings.data import DataSettings
from rewho.settings.fields import Command, Seed
from rewho.settings.training import EngineSettings


@dataclass(frozen=True)
class TableSettings:
    """Settings of `rewho table`.

    Args:
        name: Name of a table, such as fd7, or a YAML file that describes one.
        data: Data set: `root` is the first data set; the other options hold for all data sets.
        others: Folders of further data sets: more columns of the table.
        crops: Folders of images without labels, for tables with pre-training.
        out: Folder for the runs, a sub-folder per data set, and for the tables. Tables with the same folder share runs.
        rows: Labels of the rows to run; empty runs all.
        override: Settings of all runs of a stage, such as distill.epochs=10; the result is no longer the paper's.
        use: Finished runs to use instead of running a step, as STEP=FOLDER.
        plan: Print which runs are finished and which are missing, and run none.
        smoke: Run a small variant on rendered people, which takes a minute or two.
        engine: Devices and precision; a value other than the default replaces the recipes' own, so that `auto` is each
            recipe's precision.
        seed: Seed of every run.
    """

    command = Command(
        "table",
        "run the experiments of a paper's table and compare our figures with the paper's",
        "name",
        again=True,
        common="name data.root others crops out rows override use plan smoke data.layout data.workers engine.device "
        "engine.precision seed",
        examples=(
            "table fd7 --data Market-1501 --plan",
            "table fd7 --data Market-1501 --rows L_cls",
            "table luperson5 --smoke",
        ),
    )

    name: str = ""
    data: DataSettings = field(default_factory=DataSettings)
    others: tuple[Path, ...] = ()
    crops: tuple[Path, ...] = ()
    out: Path = Path("runs/table")
    rows: tuple[str, ...] = ()
    override: tuple[str, ...] = ()
    use: tuple[str, ...] = ()
    plan: bool = False
    smoke: bool = False
    engine: EngineSettings = field(default_factory=EngineSettings)
    seed: Seed = 1
