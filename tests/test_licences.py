"""What `pip install rewho` brings is under terms that ask nothing of a program that uses it."""

import re
from importlib import metadata

from packaging.requirements import Requirement

COPYLEFT = re.compile(r"(?<!L)\bA?GPL|GNU (Affero )?General Public", re.IGNORECASE)
"""GPL and AGPL; not the LGPL, under which a library may be used as it is."""


def terms_of(name: str) -> str:
    """Return what a distribution says about its licence, without the text itself."""
    about = metadata.metadata(name)
    named = [about.get("License-Expression") or "", (about.get("License") or "")[:100]]
    return " ".join([*named, *(one for one in about.get_all("Classifier") or () if one.startswith("License"))])


def default_install() -> dict[str, str]:
    """Return the terms of all distributions that rewho needs without extras, and of what these need."""
    found, waiting = {}, ["rewho"]
    while waiting:
        name = waiting.pop().lower().replace("_", "-")
        if name in found:
            continue
        try:
            found[name] = terms_of(name)
        except metadata.PackageNotFoundError:  # of another system
            continue
        for text in metadata.requires(name) or ():
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                waiting.append(needed.name)
    return found


def test_nothing_of_the_default_install_is_under_the_gpl():
    found = default_install()
    assert {"torch", "opencv-python-headless", "numpy", "timm"} <= found.keys() and len(found) > 25
    assert {name: terms for name, terms in found.items() if COPYLEFT.search(terms)} == {}


def test_the_scan_finds_what_it_looks_for():
    for terms in ("AGPL-3.0-only", "GPL-2.0", "License :: OSI Approved :: GNU Affero General Public License v3"):
        assert COPYLEFT.search(terms)
    for terms in ("LGPL-2.1", "Apache-2.0", "License :: OSI Approved :: BSD License"):
        assert not COPYLEFT.search(terms)
