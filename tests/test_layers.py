"""The drawing in docs/architecture.md is true: every module is in it, and no import takes an arrow that it lacks.

Imports are read from the source and never run. A layer is a package or a module at the top. Within a package modules
may import each other, though never in a circle; in `stages` each module stands alone. A module's name in a text counts
as an import of it, because that is how modules are imported late.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "rewho"
DRAWING = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
STANDS_ALONE = "stages"
HEAVY = ("torch", "torchvision", "lightning_fabric", "timm", "cv2", "numpy", "scipy", "matplotlib", "tensorboard")
FILES = sorted(path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.py"))
MODULES = [path for path in FILES if path == "__init__.py" or not path.endswith("/__init__.py")]


def block_under(heading: str, text: str = DRAWING) -> list[str]:
    """Return the lines of the first fenced block under a heading."""
    found = re.search(rf"^## {heading}\n.*?^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert found, f"docs/architecture.md has no block under '## {heading}'"
    return found[1].splitlines()


def drawn_modules(lines: list[str]) -> list[str]:
    """Return the modules of a tree of folders and files, two spaces per level, names first on their lines."""
    modules, folders = [], list[str]()
    for line in lines[1:]:
        name = line.split()[0]
        level = (len(line) - len(line.lstrip())) // 2 - 1
        folders[level:] = [name] if name.endswith("/") else []
        if name.endswith(".py"):
            modules.append("".join(folders[:level]) + name)
    return modules


def drawn_arrows(lines: list[str]) -> set[tuple[str, str]]:
    """Return (from, to) of lines like `train, rank -> core`; `nothing` stands for no arrow."""
    arrows = set()
    for line in filter(None, map(str.strip, lines)):
        left, arrow, right = line.partition("->")
        assert arrow, f"not an arrow: {line!r}"
        arrows |= {(a.strip(), b.strip()) for a in left.split(",") for b in right.split(",") if b.strip() != "nothing"}
    return arrows


def layer_of(parts: tuple[str, ...]) -> str:
    """Return the layer of a module, given as the parts of its name below `rewho`."""
    if not parts:
        return "__init__"
    return ".".join(parts[:2]) if parts[0] == STANDS_ALONE else parts[0]


def imported_names(source: str, module: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Yield everything of ours that a module's source imports, as parts of names below `rewho`."""
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = ["rewho", *module][: len(module) + 1 - node.level] if node.level else []
            origin = ".".join([*above, *([node.module] if node.module else [])])
            names = [f"{origin}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Constant | ast.JoinedStr):
            text = node.value if isinstance(node, ast.Constant) else getattr((node.values or [None])[0], "value", "")
            names = [text] if isinstance(text, str) and re.match(r"rewho(\.\w+)+\.?$", text) else []
        yield from (tuple(filter(None, name.split(".")[1:])) for name in names if name.split(".")[0] == "rewho")


def existing(parts: tuple[str, ...]) -> tuple[str, ...]:
    """Cut what is not a module (a function, a class) off the end of a name."""
    while parts and not (SOURCE.joinpath(*parts).is_dir() or SOURCE.joinpath(*parts).with_suffix(".py").is_file()):
        parts = parts[:-1]
    return parts


def used_arrows(source: str, module: tuple[str, ...]) -> set[tuple[str, str]]:
    """Return the arrows between layers that a module's imports are."""
    own = layer_of(module)
    targets = {layer_of(existing(name)) for name in imported_names(source, module)}
    return {(own, target) for target in targets - {own}}


def undrawn(arrows: set[tuple[str, str]], drawn: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Return the arrows that are not drawn; one drawn for `stages` holds for every stage, as start and as end."""

    def names(layer: str) -> set[str]:
        return {layer, layer.partition(".")[0]}

    return {(start, end) for start, end in arrows if not any((a, b) in drawn for a in names(start) for b in names(end))}


def module_name(path: str) -> tuple[str, ...]:
    return Path(path).with_suffix("").parts


def test_every_import_is_a_drawn_arrow() -> None:
    drawn = drawn_arrows(block_under("Imports"))
    swept, wrong = set[tuple[str, str]](), []
    for path in FILES:
        arrows = used_arrows((SOURCE / path).read_text(encoding="utf-8"), module_name(path))
        swept |= arrows
        wrong += [f"{path}: {start} -> {end}" for start, end in sorted(undrawn(arrows, drawn))]
    assert not wrong, "imports that docs/architecture.md does not draw"
    assert len(MODULES) > 20, "too few modules found: is this the source tree?"
    assert len(swept) > 10, "too few imports found: does the sweep still see them?"


def circles(arrows: dict[str, set[str]]) -> list[str]:
    """Return the names that reach themselves along the arrows."""

    def reached(start: str) -> set[str]:
        found, waiting = set[str](), [start]
        while waiting:
            for end in arrows.get(waiting.pop(), set()) - found:
                found.add(end)
                waiting.append(end)
        return found

    return sorted(name for name in arrows if name in reached(name))


def test_no_module_imports_itself_through_others() -> None:
    arrows = dict[str, set[str]]()
    for path in MODULES:
        module = module_name(path)
        targets = {existing(name) for name in imported_names((SOURCE / path).read_text(encoding="utf-8"), module)}
        arrows["/".join(module)] = {"/".join(target) for target in targets if target and target != module}
    assert sum(map(len, arrows.values())) > 500, "too few imports found: does the sweep still see them?"
    assert circles(arrows) == []


def test_no_layer_imports_itself_through_others() -> None:
    arrows = dict[str, set[str]]()
    for start, end in drawn_arrows(block_under("Imports")):
        if start.partition(".")[0] != end:
            arrows.setdefault(start, set()).add(end)
    assert len(arrows) > 10
    assert circles(arrows) == []


def test_a_planted_circle_is_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == ["a", "b", "c"]


def test_the_drawing_names_the_modules_that_exist() -> None:
    drawn = drawn_modules(block_under("Layout"))
    assert len(drawn) == len(set(drawn)), "a module is drawn twice"
    assert set(MODULES) - set(drawn) == set(), "modules that docs/architecture.md does not name"
    assert set(drawn) - set(MODULES) == set(), "modules in docs/architecture.md that do not exist"


def test_the_arrows_are_between_layers_that_exist() -> None:
    layers = {layer_of(module_name(path)) for path in MODULES} | {STANDS_ALONE}
    drawn = {layer for arrow in drawn_arrows(block_under("Imports")) for layer in arrow}
    assert drawn - layers == set()
    assert {layer.partition(".")[0] for layer in layers} - drawn == set(), "layers without an arrow"


@pytest.mark.parametrize(
    ("source", "module", "expected"),
    [
        ("import rewho.losses.classify", ("models", "heads"), ("models", "losses")),
        ("from rewho.losses import classify", ("models", "heads"), ("models", "losses")),
        ("from rewho import losses", ("models", "heads"), ("models", "losses")),
        ("def f():\n    from rewho.data.table import ImageTable", ("rank", "metrics"), ("rank", "data")),
        ("from ..data import table", ("rank", "metrics"), ("rank", "data")),
        ("if TYPE_CHECKING:\n    from rewho.cli import main", ("core", "check"), ("core", "cli")),
        ("from rewho import load", ("core", "check"), ("core", "__init__")),
        ("importlib.import_module('rewho.models.heads')", ("core", "config"), ("core", "models")),
        ("importlib.import_module(f'rewho.stages.{name}')", ("core", "config"), ("core", "stages")),
        ("from rewho.stages.train import run", ("stages", "evaluate"), ("stages.evaluate", "stages.train")),
        ("from rewho.stages import train", ("stages", "evaluate"), ("stages.evaluate", "stages.train")),
    ],
)
def test_a_planted_arrow_is_found(source: str, module: tuple[str, ...], expected: tuple[str, str]) -> None:
    arrows = used_arrows(source, module)
    assert expected in arrows
    assert undrawn(arrows, drawn_arrows(block_under("Imports"))) == {expected}


@pytest.mark.parametrize(
    ("source", "module"),
    [
        ("import numpy", ("core", "check")),
        ("from rewho.data.views import View", ("data", "augment")),
        ("from rewho.core.check import UserError", ("rank", "metrics")),
        ("from rewho.stages.train import run", ("stages", "demo")),
        ("text = 'rewho is not imported by this'", ("core", "check")),
    ],
)
def test_what_is_allowed_is_not_reported(source: str, module: tuple[str, ...]) -> None:
    assert undrawn(used_arrows(source, module), drawn_arrows(block_under("Imports"))) == set()


def test_a_planted_module_is_read_from_the_tree() -> None:
    tree = ["src/rewho/", "  cli.py     commands", "  core/      below", "    check.py   errors", "  pipeline.py"]
    assert drawn_modules(tree) == ["cli.py", "core/check.py", "pipeline.py"]


def test_the_command_line_imports_nothing_heavy() -> None:
    code = f"import sys, rewho.cli, rewho.settings.command_line; print([*sys.modules.keys() & {{*{HEAVY}}}])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
