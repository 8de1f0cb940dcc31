"""Every block of the guides is run, page by page and in order, in a folder of what the page takes for granted.

`uv run pytest -m guide` runs what takes seconds, `-m slow` the pages with commands that take longer, whole. What is
shortened or left out, and why, stands in `guide_tables.py`.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from guide_blocks import PAGES, ROOT, Block, blocks_of, words_of
from guide_materials import Materials
from guide_tables import NOT_RUN, PREPARED, REPLACED, SHORT, SLOW
from rewho import cli
from running_service import serving

LANGUAGES = {"sh", "console", "python", "pycon", "yaml", "make", "text"}
TEXTS = {name: path.read_text(encoding="utf-8") for name, path in PAGES.items()}
BLOCKS = {name: list(blocks_of(text)) for name, text in TEXTS.items()}
WITH_BLOCKS = [name for name, blocks in BLOCKS.items() if any(block.language != "text" for block in blocks)]


@pytest.fixture(scope="session")
def materials(tmp_path_factory: pytest.TempPathFactory) -> Materials:
    return Materials(tmp_path_factory.mktemp("materials"))


class Page:
    """A folder in which the blocks of a page are run, one after the other.

    Args:
        name: The page.
        materials: What it takes for granted.
        folder: An empty folder, which is the working folder.
        said: Returns what was printed since it was last asked.
    """

    def __init__(self, name: str, materials: Materials, folder: Path, said: Callable[[], str]) -> None:
        self._name, self._materials, self._said = name, materials, said
        self._module = sys.modules["guide"] = types.ModuleType("guide")  # where a layout of the page is looked for
        (folder / "recipes").symlink_to(ROOT / "recipes")
        for kind, paths in PREPARED.get(name, {}).items():
            for path in paths.split():
                materials.place(kind, folder / path)

    def run(self, block: Block, *, slow: bool) -> None:
        """Run a block; commands that are slow only if asked for."""
        if block.file:
            Path(block.file).parent.mkdir(parents=True, exist_ok=True)
            Path(block.file).write_text(block.text, encoding="utf-8")
        if block.language in ("sh", "console"):
            for command in block.commands:
                key = (self._name, command.partition(" #")[0].strip())
                if key not in NOT_RUN and (slow or key not in SLOW):
                    self._type(command)
        elif block.language == "python" and ">>>" not in block.text:
            exec(compile(self._here(block.text), f"{self._name}, line {block.line}", "exec"), vars(self._module))
        elif block.language in ("yaml", "make"):
            known = block.file or (self._name, block.text.partition("\n")[0]) in NOT_RUN
            assert known, f"{self._name}, line {block.line}: which file is this? Begin it with a comment: # NAME"

    def _here(self, text: str) -> str:
        """Return words of the page with those replaced that cannot be so here."""
        for page, before, after in REPLACED:
            if page == self._name:
                text = text.replace(before, after)
        return text

    def _type(self, command: str) -> None:
        command = self._here(command)
        words = words_of(command)
        if words is None:
            self._shell(command)
            return
        typed = " ".join(words)
        for page, pattern, more in SHORT:
            if re.fullmatch(page, self._name) and re.match(pattern, typed):
                words += shlex.split(more)
        if words[0] == "serve":
            with serving(Path(words[1]), *words[2:]):
                return
        self._said()
        code = cli.main(words)
        said = self._said()
        assert code == 0, f"{self._name}: {command}\n{said[-3000:]}"
        if "--new-terms" in words:  # the page asks to fill in the form
            self._materials.place("terms", Path(words[words.index("--new-terms") + 1]))

    def _shell(self, command: str) -> None:
        """Run a command of which `rewho` is only a part."""
        programs = Path("programs").resolve()
        for name, content in {"uv": 'shift; exec "$@"', "rewho": f'exec {sys.executable} -m rewho "$@"'}.items():
            programs.mkdir(exist_ok=True)
            (programs / name).write_text(f"#!/bin/sh\n{content}\n")
            (programs / name).chmod(0o755)
        environment = {**os.environ, "PATH": f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"}
        done = subprocess.run(
            ["bash", "-euc", command], env=environment, capture_output=True, text=True, check=False, timeout=3000
        )
        assert done.returncode == 0, f"{self._name}: {command}\n{done.stdout[-1500:]}{done.stderr[-3000:]}"


@pytest.fixture
def page(
    materials: Materials, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., None]]:
    """Run the blocks of a page; what they made, gigabytes in all, is removed."""
    monkeypatch.setenv("TORCH_HOME", str(materials.find("imagenet")))
    monkeypatch.setenv("REWHO_CACHE", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend("")
    folder = tmp_path / "page"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def run(name: str, *, slow: bool) -> None:
        opened = Page(name, materials, folder, lambda: "".join(capfd.readouterr()))
        for block in BLOCKS[name]:
            opened.run(block, slow=slow)

    yield run
    monkeypatch.chdir(tmp_path)
    shutil.rmtree(folder)


@pytest.mark.guide
@pytest.mark.parametrize("name", WITH_BLOCKS)
def test_every_block_of_a_page_runs(page, name):
    page(name, slow=False)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", sorted({name for name, _ in SLOW}))
def test_every_block_of_a_page_with_slow_commands_runs(page, name):
    page(name, slow=True)


def test_what_is_left_out_or_shortened_is_in_a_page():
    typed = {
        (name, command.partition(" #")[0].strip())
        for name, blocks in BLOCKS.items()
        for block in blocks
        for command in (block.commands if block.language in ("sh", "console") else [block.text.partition("\n")[0]])
    }
    assert {*NOT_RUN, *SLOW} <= typed and not {*NOT_RUN} & {*SLOW}
    assert {block.language for blocks in BLOCKS.values() for block in blocks} <= LANGUAGES
    assert all(before in TEXTS[page] for page, before, _ in REPLACED)
    words = [(name, " ".join(words_of(command) or ())) for name, command in typed]
    for page, pattern, _ in SHORT:
        assert any(re.fullmatch(page, name) and re.match(pattern, text) for name, text in words), pattern
    assert set(PREPARED) <= set(WITH_BLOCKS)
