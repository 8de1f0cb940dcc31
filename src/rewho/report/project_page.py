"""The page of a run of several steps: what was done, where it is, and what to do next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rewho.report import html_page as html

PAGES = ("index.html", "report.html", "README.md", "graph.html")
"""Pages that a step may leave in its folder; the first that is there is linked."""
WHAT = {
    "crop": "people cut out of videos",
    "pretrain": "an encoder from images without labels",
    "train": "a model from labelled people",
    "adapt": "the model adapted to images without labels",
    "teachers": "large networks to learn from",
    "represent": "what they say about each image",
    "distill": "a small model that learned from them",
    "evaluate": "how good the models are on people held out",
    "export": "a file that runs without rewho",
    "gallery": "everybody who was seen, to search",
}


@dataclass(frozen=True)
class StepRow:
    """One step.

    Args:
        stage: Its command.
        state: In words: done, finished before, not yet.
        folder: Its folder; None before it has one.
        command: The command that runs it alone.
        notes: What it says, on several lines.
        found: Whom the gallery has, in plain words, such as "3 sightings of people"; empty for other steps.
    """

    stage: str
    state: str
    folder: Path | None
    command: str
    notes: str
    found: str = ""


@dataclass(frozen=True)
class ProjectPage:
    """What the page shows.

    Args:
        title: Its title.
        steps: In their order.
        notes: Sentences on what was left out, and why.
        next: What to do next, each with its command.
        folder: Folder of the page, to which links are relative.
    """

    title: str
    steps: Sequence[StepRow]
    notes: Sequence[str]
    next: Sequence[tuple[str, str]]
    folder: Path


def project_page(page: ProjectPage) -> str:
    """Return the page as HTML.

    Example:
        >>> row = StepRow("crop", "done in 0:12", Path("runs/shop/crop"), "rewho crop a.mp4", "")
        >>> search = ("search for somebody", "rewho gallery search g a.jpg")
        >>> made = project_page(ProjectPage("Run shop", [row], [], [search], Path("runs/shop")))
        >>> "done in 0:12" in made, "rewho gallery search g" in made
        (True, True)
        >>> row = StepRow("gallery", "done", Path("g"), "", chr(10).join(["FPIR", "FNIR"]), "3 sightings")
        >>> made = project_page(ProjectPage("3 sightings", [row], [], [], Path("shop")))
        >>> made.index("3 sightings.") < made.index("<details><summary>All that it says") < made.index("FPIR")
        True
    """
    rows = [(row.stage, WHAT.get(row.stage, ""), row.state, _place(row)) for row in page.steps]
    body = html.card("Steps", html.table(rows, ("step", "what it makes", "state", "folder")) + html.links(_pages(page)))
    said = "".join(html.card(row.stage, _said(row)) for row in page.steps if row.notes or row.found)
    following = "".join(html.paragraph(words, "") + html.code(command) for words, command in page.next)
    body += html.card("What to do next", following) if following else ""
    body += html.card("Good to know", "".join(html.paragraph(note, "") for note in page.notes)) if page.notes else ""
    body += html.heading("What the steps say") + said if said else ""
    commands = "\n".join(row.command for row in page.steps if row.command)
    body += html.details("The command of each step", html.code(commands)) if commands else ""
    return html.build_page(page.title, body)


def _place(row: StepRow) -> str:
    """Return the folder of a step; a gallery has no page to link, and is shown by a command."""
    if row.folder is None:
        return "–"
    return f"{row.folder}: see it with rewho serve {row.folder}" if row.stage == "gallery" else str(row.folder)


def _said(row: StepRow) -> str:
    """Return what a step says: whom the gallery has, then one line in the open, or more behind a click."""
    found = html.paragraph(f"The gallery has {row.found}.", "") if row.found else ""
    if "\n" in row.notes:
        return found + html.details("All that it says", html.code(row.notes))
    return found + (html.paragraph(row.notes, "") if row.notes else "")


def _pages(page: ProjectPage) -> list[tuple[str, str]]:
    found = []
    for row in page.steps:
        name = next((name for name in PAGES if row.folder and (row.folder / name).is_file()), None)
        if row.folder is not None and name and row.folder.is_relative_to(page.folder):
            found.append(((row.folder / name).relative_to(page.folder).as_posix(), f"{row.stage}: its page"))
    return found
