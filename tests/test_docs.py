"""What the README and the documentation say is true: commands, options, names, links, and the examples that can run."""

import ast
import doctest
import importlib
import inspect
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import rewho
from rewho import cli, settings
from rewho.settings.aliases import ALIASES
from rewho.settings.command_line import fill
from rewho.settings.fields import options_of
from rewho.settings.names import GLOBAL_OPTIONS, MAIN_OF_GROUP
from rewho.settings.recipe import SPECIAL, read_recipe
from rewho.tables.project import build_steps, read_project

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")] + sorted(
    (ROOT / "docs").rglob("*.md")
)
PAGES = [page for page in PAGES if "_build" not in page.parts]
TEXTS = {page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8") for page in PAGES}


def blocks(text: str, *languages: str) -> list[str]:
    """Return the contents of fenced blocks in one of some languages."""
    found = re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [content for language, content in found if language in languages]


def commands(text: str) -> list[str]:
    """Return what follows the word `rewho` in the commands of shell blocks and of recipes, without redirections."""
    lines = [
        line.partition(" # ")[0].strip()  # without a comment
        for block in blocks(text, "sh", "console", "yaml")
        for line in block.replace("\\\n", " ").splitlines()
    ]
    return [
        found[1] for line in lines if (found := re.search(r"(?:^|&& |: |\$ )(?:uv run )?rewho (.+?)(?: > \S+)?$", line))
    ]


def inline_code(text: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL))


def known_options() -> set[str]:
    of_commands = {f"--{name}" for kind in cli.COMMANDS.values() for name, _ in options_of(kind)}
    last_parts = {f"--{option.lstrip('-').rpartition('.')[2]}" for option in of_commands}
    of_all = {f"--{name}" for name in (*GLOBAL_OPTIONS, *ALIASES, *MAIN_OF_GROUP, "help-all")}
    of_some = {f"--{name}" for kind in cli.COMMANDS.values() for name in kind.command.short}
    return of_commands | last_parts | of_all | of_some


ALL_COMMANDS = sorted({command for text in TEXTS.values() for command in commands(text)})


@pytest.mark.parametrize("command", ALL_COMMANDS)
def test_every_command_is_understood(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    (tmp_path / "mine.yaml").write_text("epochs: 3\n")
    (tmp_path / "my-terms.yaml").write_text("terms:\n  name: walks\n")
    words = shlex.split(command)
    assert cli.main([*words, "--print_config"]) == 0, capsys.readouterr().err
    assert isinstance(yaml.safe_load(capsys.readouterr().out), dict)


def test_commands_were_found_and_every_command_is_shown() -> None:
    assert {command.split()[0] for command in ALL_COMMANDS} == set(cli.COMMANDS)
    assert len(ALL_COMMANDS) > 10


@pytest.mark.parametrize(
    "command", ["trian --epochs 3", "train --epoch 3", "train --epochs three", "evaluate --rerank=maybe"]
)
def test_planted_mistake_is_found(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert commands(f"```sh\nuv run rewho {command}\n```\n") == [command]
    assert cli.main([*command.split(), "--print_config"]) == cli.USER_MISTAKE
    assert "Fix:" in capsys.readouterr().err


def test_options_and_commands_named_in_the_text_exist() -> None:
    known, swept = known_options(), 0
    for page, text in TEXTS.items():
        for code in inline_code(text):
            if option := re.fullmatch(r"(--[a-z][\w.]*)(?:[ =].*)?", code):
                assert option[1] in known, f"{page}: `{code}`"
                swept += 1
            if command := re.match(r"(?:uv run )?rewho ([a-z]\S*)", code):
                assert command[1] in cli.COMMANDS, f"{page}: `{code}`"
                swept += 1
    assert swept > 40


def public_calls(source: str) -> Iterator[tuple[str, ast.Call | None]]:
    """Yield every `rewho.NAME` of some code, and its call if it is called at once."""
    tree = ast.parse(source)
    called = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "rewho":
            yield node.attr, called.get(id(node))


def refusal(name: str, call: ast.Call | None) -> str | None:
    """Return why a public name cannot be used as it is written, or None."""
    if not hasattr(rewho, name):
        return f"rewho has no {name}"
    if call is None:
        return None
    try:
        inspect.signature(getattr(rewho, name)).bind(*call.args, **{word.arg or "": None for word in call.keywords})
    except TypeError as error:
        return f"rewho.{name}: {error}"
    return None


def test_python_examples_use_names_that_exist() -> None:
    found = [
        (page, *use)
        for page, text in TEXTS.items()
        for block in blocks(text, "python")
        if ">>>" not in block
        for use in public_calls(block)
    ]
    assert [f"{page}: {why}" for page, name, call in found if (why := refusal(name, call))] == []
    assert {name for _, name, _ in found} >= {"load", "evaluate", "compare"}


@pytest.mark.parametrize("wrong", ["rewho.no_such_name", "rewho.load()", "rewho.load('a', no_such_argument=1)"])
def test_planted_wrong_example_is_found(wrong: str) -> None:
    assert all(refusal(name, call) for name, call in public_calls(wrong))


def test_python_sessions_give_what_they_show() -> None:
    sessions = [(page, block) for page, text in TEXTS.items() for block in blocks(text, "python") if ">>>" in block]
    for page, block in sessions:
        test = doctest.DocTestParser().get_doctest(block, {}, page, page, 0)
        assert doctest.DocTestRunner().run(test).failed == 0, page
    assert sessions


def test_recipes_in_the_text_have_known_names(tmp_path: Path) -> None:
    known = [
        {name.split(".")[0] for name, _ in options_of(kind)} for kind in (settings.TrainSettings, settings.CropSettings)
    ]
    for block in (block for text in TEXTS.values() for block in blocks(text, "yaml")):
        names = {name for name in yaml.safe_load(block) if name not in SPECIAL}
        if not any(names <= of_one for of_one in known):  # then it is a project of `rewho run`
            (tmp_path / "project.yaml").write_text(block)
            project = read_project(settings.RunSettings(videos=(tmp_path / "project.yaml",)))
            for step in build_steps(project, tested=True):
                values = {**(read_recipe(step.recipe) if step.recipe else {}), **step.settings}
                assert fill(cli.COMMANDS[step.stage], values, step.stage)


RECIPES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "recipes").rglob("*.yaml"))
TABLES = [recipe for recipe in RECIPES if "/tables/" in recipe]


@pytest.mark.parametrize("recipe", [recipe for recipe in RECIPES if recipe not in TABLES])
def test_every_recipe_is_a_document_that_can_be_run(recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    about = yaml.safe_load(Path(recipe).read_text(encoding="utf-8"))["about"]
    assert list(about) == ["claim", "command", "cost", "expected"]
    assert recipe in about["command"] or about["command"].startswith("none of its own")
    words = about["command"].split()
    command = words[1] if words[0] == "rewho" else "train"
    assert cli.main([command, "--recipe", recipe, "--print_config"]) == 0
    assert cli.main([command, "--recipe", recipe, "--smoke", "--print_config"]) == 0


def test_every_table_is_a_document_with_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    shown = 0
    for table in TABLES:
        about = yaml.safe_load((ROOT / table).read_text(encoding="utf-8"))["about"]
        assert list(about) == ["claim", "command", "cost", "expected"]
        if not about["command"].startswith("none of its own"):
            words = about["command"].split()
            assert words[:3] == ["rewho", "table", Path(table).stem]
            assert cli.main([*words[1:], "--print_config"]) == 0
            shown += 1
    assert shown >= 6 and capsys.readouterr().out.count("smoke: false") == shown


def links(text: str) -> list[str]:
    """Return the targets of links and images, code left out."""
    prose = re.sub(r"^```.*?^```$|`[^`\n]+`", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"\]\(([^)\s]+)\)", prose)


def heading_anchors(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken(page: Path, target: str) -> bool:
    """Return whether a link leads nowhere in the repository; addresses elsewhere are not looked at."""
    if re.match(r"[a-z]+:", target):
        return not target.startswith("https://")
    path, _, anchor = target.partition("#")
    place = (page.parent / path).resolve() if path else page
    return not place.exists() or bool(anchor and anchor not in heading_anchors(place.read_text(encoding="utf-8")))


LINKS = [(page, target) for page in PAGES for target in links(page.read_text(encoding="utf-8"))]


def test_every_link_leads_somewhere() -> None:
    pages = [(page, target) for page, target in LINKS if not target.endswith(".jpg")]
    assert [f"{page.name}: {target}" for page, target in pages if broken(page, target)] == []
    assert len(pages) > 20


def test_planted_broken_link_is_found() -> None:
    page = ROOT / "README.md"
    assert links("[a](docs/none.md) `[b](c.md)`") == ["docs/none.md"]
    assert broken(page, "docs/none.md")
    assert broken(page, "#no-such-heading")
    assert not broken(page, "CONTRIBUTING.md#habits")


def test_every_test_that_a_page_names_exists() -> None:
    named = {found for text in TEXTS.values() for found in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)}
    missing = [f"{file}::{name}" for file, name in named if f"def {name}(" not in (ROOT / file).read_text()]
    assert missing == [] and len(named) > 15


def test_every_image_is_there_and_shown() -> None:
    images = {(page.parent / target).resolve() for page, target in LINKS if target.endswith(".jpg")}
    assert images == set((ROOT / "docs" / "images").iterdir())


def test_every_page_is_in_the_table_of_contents() -> None:
    trees = "\n".join(re.findall(r"^```\{toctree\}\n(.*?)^```$", TEXTS["docs/index.md"], re.MULTILINE | re.DOTALL))
    pages = {name.removeprefix("docs/").removesuffix(".md") for name in TEXTS if name.startswith("docs/")}
    assert pages - {"index"} == {line for line in trees.splitlines() if line and not line.startswith(":")}


def test_every_package_has_an_api_page() -> None:
    packages = {path.parent.name for path in (ROOT / "src" / "rewho").rglob("__init__.py")}
    assert {path.stem for path in (ROOT / "docs" / "api").glob("*.rst")} == packages


def test_the_first_screen_has_the_image_and_the_two_commands() -> None:
    first_screen = TEXTS["README.md"].partition("\n## ")[0]
    assert blocks(first_screen, "sh") == ["pip install uv && uv run rewho demo\n"]
    assert "uv run pytest\n" in blocks(TEXTS["README.md"], "sh")
    assert len(TEXTS["README.md"].splitlines()) <= 100
    assert links(first_screen)[0].endswith(".jpg")
    assert len(first_screen.splitlines()) < 40


def test_the_gate_runs_what_the_readme_says() -> None:
    gate = ROOT / ".ci" / "run"
    text = gate.read_text(encoding="utf-8")
    assert os.access(gate, os.X_OK)
    steps = re.findall(r"^\s*step (.+?)(?: -q.*| >.*)?$", text, re.MULTILINE)
    assert sorted(steps) == [
        '.ci/interpreter "$python"',
        'bash -c "$command"',
        "browser",
        "uv run mypy --strict src",
        "uv run pytest",
        "uv run pytest --doctest-modules src",
        "uv run pytest -m guide",
        "uv run ruff check",
        "uv run ruff format --check",
        "uv run sphinx-build -W --keep-going",
        "uv sync",
    ]
    assert "README.md" in text


def test_the_table_of_data_sets_is_the_code() -> None:
    layouts = set(importlib.import_module("rewho.settings.data").LAYOUTS) - {"auto"}
    modules = [importlib.import_module(f"rewho.data.layouts.{name.replace('-', '_')}") for name in layouts]
    known = {name: counts for module in modules for name, counts in getattr(module, "PUBLISHED", {}).items()}
    assert len(known) >= 8
    lines = [line for line in TEXTS["docs/data-sets.md"].splitlines() if line.startswith("|")]
    assert layouts <= {code for line in lines for code in re.findall(r"`([\w-]+)`", line)}
    for name, counts in known.items():
        for count in counts:
            assert f"{count:,}" in TEXTS["docs/data-sets.md"], f"{name}: {count:,}"


def test_the_exit_codes_are_the_code() -> None:
    runtime = importlib.import_module("rewho.core.runtime")
    codes = [int(code) for code in re.findall(r"^\| (\d+) \|", TEXTS["docs/guide/getting-started.md"], re.MULTILINE)]
    assert codes == [0, cli.USER_MISTAKE, runtime.EXIT_PARTLY_FAILED, runtime.EXIT_INTERRUPTED, cli.CANCELLED]
