"""The legal terms of a crop set: a form to fill in, and reading it."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

from rewho.core.artifact import write_file
from rewho.core.check import UserError
from rewho.core.files import read_yaml
from rewho.core.record import flatten
from rewho.settings import TermsSettings
from rewho.settings.command_line import fill
from rewho.settings.help import read_explanations

TERMS = tuple(entry.name for entry in fields(TermsSettings) if entry.name != "file")
HEAD = """# The legal terms of a crop set. Every crop is an image of a person: fill in every line, between the quotes.
# Then: rewho crop VIDEOS --terms {name}
"""


def write_form(path: Path) -> Path:
    """Write a form with all terms and what each means, as commented YAML; return its path.

    Raises:
        UserError: The file exists already, or cannot be written.
    """
    if path.exists():
        fix = "Fill that one in and pass it as --terms, or choose another name."
        raise UserError(f"--new-terms {path}", expected="a new file", got="one that is there already", fix=fix)
    meaning = read_explanations(TermsSettings)
    lines = [HEAD.format(name=path.name)]
    for name in TERMS:
        lines += [f"# {meaning[name]}", f'{name}: ""', ""]
    return write_file(path, lambda file: file.write("\n".join(lines).encode()))


def read_terms(terms: TermsSettings, *, by_options: bool = True) -> TermsSettings:
    """Return all terms; those that are not given as options are read from the file.

    Args:
        terms: The file and what is given beside it.
        by_options: Whether the command has an option for each term, for the message.

    Raises:
        UserError: The file cannot be read or holds something else, or terms are missing: all of them are named.
    """
    if terms.file is not None:
        what = f"--terms {terms.file}"
        content = read_yaml(terms.file.expanduser(), what)
        if not isinstance(content, dict):
            fix = f"Write a form with `rewho crop --new-terms {terms.file.name}`, and fill it in."
            raise UserError(what, expected="terms and their values", got=f"{content!r:.100}", fix=fix)
        if isinstance(content.get("terms"), dict):  # as in a recipe
            content = content["terms"]
        written = fill(TermsSettings, flatten({**content}), f"crop, {terms.file}", "")
        given = {name: value for name in TERMS if (value := getattr(terms, name)).strip()}
        terms = replace(written, file=terms.file, **given)
    missing = [name for name in TERMS if not getattr(terms, name).strip()]
    if missing:
        fix = "Run `rewho crop --new-terms terms.yaml`, fill in the form, and pass --terms terms.yaml"
        fix = f"Fill them in in {terms.file}" if terms.file else fix
        fix += "; or pass --terms.name … for each." if by_options else "."
        raise UserError("terms", expected="what a data sheet must say", got=f"nothing on {', '.join(missing)}", fix=fix)
    return terms
