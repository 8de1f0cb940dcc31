"""A repeated command is answered from its folder only where settings, inputs and outputs are as they were."""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from rewho.core.invocation import COMMAND_FILE, Invocation, choose_folder, find_finished, read_invocation


@dataclass(frozen=True)
class Settings:
    data: Path
    out: Path = Path("runs/x")
    epochs: int = 3
    workers: int = 2


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "a").mkdir(parents=True)
    (tmp_path / "data" / "a" / "1.jpg").write_bytes(b"one")
    return Path("data")


def finish(data, out, **more):
    invocation = Invocation.of("x", Settings(data, out, **more))
    invocation.write(out)
    (out / "result.txt").write_text("done")
    invocation.write(out, {"result": "page", "summary": ""})
    return invocation


def test_a_finished_folder_answers_with_its_result(data):
    out = Path("out")
    invocation = finish(data, out)
    assert find_finished(out, invocation) == {"result": "page", "summary": ""}
    assert find_finished(out, Invocation.of("x", Settings(data, out, workers=7))) is not None  # changes no result
    assert find_finished(Path("nowhere"), invocation) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda data, out: (data / "a" / "2.jpg").write_bytes(b"new"),
        lambda data, out: (data / "a" / "1.jpg").write_bytes(b"longer"),
        lambda data, out: os.utime(data / "a" / "1.jpg", ns=(1, 1)),
        lambda data, out: (data / "a" / "1.jpg").unlink(),
        lambda data, out: (out / "result.txt").write_text("damaged"),
        lambda data, out: (out / "result.txt").unlink(),
        lambda data, out: (out / COMMAND_FILE).write_text("{"),
        lambda data, out: (out / COMMAND_FILE).write_text("[]"),
        lambda data, out: (out / COMMAND_FILE).unlink(),
    ],
)
def test_any_change_is_left_to_the_stage(data, change):
    out = Path("out")
    finish(data, out)
    change(data, out)
    assert find_finished(out, Invocation.of("x", Settings(data, out))) is None


def test_other_settings_or_commands_are_not_answered(data):
    out = Path("out")
    finish(data, out)
    assert find_finished(out, Invocation.of("x", Settings(data, out, epochs=4))) is None
    assert find_finished(out, Invocation.of("y", Settings(data, out))) is None


def test_a_folder_that_the_command_fills_is_no_input(data):
    @dataclass(frozen=True)
    class Searching:
        gallery: Path
        cache: Path = Path("kept")

    before = Invocation.of("search", Searching(data))
    (data.parent / "kept").mkdir()
    (data.parent / "kept" / "vectors.npz").write_bytes(b"many")
    assert Invocation.of("search", Searching(data)) == before


def test_a_list_that_may_name_files_anywhere_is_left_to_the_stage(data):
    for text, known in (("path\na/1.jpg\n", True), ("path\n/somewhere/1.jpg\n", False), ("path\n../1.jpg\n", False)):
        (data / "list.csv").write_text(text)
        assert (Invocation.of("x", Settings(data / "list.csv")).inputs is not None) == known
    (data / "list.csv").write_text("path\na/1.jpg\n")
    before = Invocation.of("x", Settings(data / "list.csv")).inputs
    (data / "a" / "1.jpg").write_bytes(b"another")
    assert Invocation.of("x", Settings(data / "list.csv")).inputs != before


def test_folders_are_numbered_and_found_again(data):
    base = Path("runs/x")

    def choose(epochs=3, **options):
        return choose_folder(Invocation.of("x", Settings(data, base, epochs)), base, **options)

    assert choose() == (base, "new")
    finish(data, base)
    assert choose() == (base, "finished")
    assert choose(4)[0] == Path("runs/x-2")
    Invocation.of("x", Settings(data, base, 4)).write(Path("runs/x-2"))
    (Path("runs/x-2") / "checkpoint").write_text("half")
    assert choose(4) == (Path("runs/x-2"), "resuming")
    assert choose(3) == (base, "finished")
    assert choose(4, resume=False)[0] == Path("runs/x-3")
    assert choose(5)[0] == Path("runs/x-3")
    assert choose(5, changed=True) == (Path("runs/x-2"), "resuming")
    (data / "a" / "1.jpg").write_bytes(b"changed")
    assert choose()[0] == Path("runs/x-3")


def test_a_finished_training_is_continued_only_where_the_schedule_allows_it(data):
    base = Path("runs/x")
    finish(data, base)
    asked = []
    more = Invocation.of("x", Settings(data, base, 4))
    assert choose_folder(more, base, extends=lambda done: asked.append(done) or True) == (
        base,
        "continuing after 3 epochs",
    )
    assert asked == [3]
    assert choose_folder(more, base, extends=lambda done: False)[0] == Path("runs/x-2")
    fewer = Invocation.of("x", Settings(data, base, 2))
    assert choose_folder(fewer, base, extends=lambda done: True)[0] == Path("runs/x-2")


def test_foreign_folders_are_not_written_to_and_a_failed_command_leaves_none(data):
    other = Path("other")
    other.mkdir()
    (other / "letter.txt").write_text("mine")
    invocation = Invocation.of("x", Settings(data, other))
    invocation.write(other)
    assert [file.name for file in other.iterdir()] == ["letter.txt"]
    invocation.write(Path("new"))
    assert read_invocation(Path("new"))["command"] == "x"
    invocation.withdraw(Path("new"))
    assert not Path("new").exists()


def test_links_in_a_circle_end(data):
    (data / "again").symlink_to(data.absolute())
    assert Invocation.of("x", Settings(data)).inputs


@dataclass(frozen=True)
class Terms:
    file: Path


@dataclass(frozen=True)
class SettingsWithTerms:
    terms: Terms
    out: Path = Path("runs/x")


def test_what_lies_beside_a_form_of_terms_is_no_input(data):
    Path("terms.yaml").write_text("name: walks")
    first = Invocation.of("x", SettingsWithTerms(Terms(Path("terms.yaml"))))
    Path("another-run").mkdir()
    Path("another-run/page.html").write_text("made in between")
    assert Invocation.of("x", SettingsWithTerms(Terms(Path("terms.yaml")))) == first
    Path("terms.yaml").write_text("name: other walks")
    assert Invocation.of("x", SettingsWithTerms(Terms(Path("terms.yaml")))) != first
