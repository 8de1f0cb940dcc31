"""Your own images in folders: one per person, with cameras above or below, or file names that a pattern reads."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rewho.core.check import UserError, is_dir, nearest
from rewho.core.text import quantity
from rewho.data.file_lists import (
    Listing,
    check_folder,
    empty_folder,
    left_out,
    list_folder,
    list_tree,
    sub_folders,
    wrong_names,
)
from rewho.data.name_patterns import (
    are_cameras,
    compile_pattern,
    loses_minus,
    not_people,
    propose_pattern,
    search_name,
    unclear_minus,
)
from rewho.data.names import NamedRow, named_table
from rewho.data.table import ImageTable, first_three
from rewho.settings import DataSettings

SPLIT_FOLDERS = ("train", "query", "gallery")
"""Sub-folders that split a folder; without any of them all images are in the split "pool"."""

_LIKE_SPLIT = re.compile("train(ing)?|test(ing)?|val(id(ation)?)?|query|queries|probe|gallery", re.IGNORECASE)


def recognise(root: Path) -> str:
    """Return the reason for this layout. It fits any folder, so it is tried last."""
    return "no benchmark's files were found" if is_dir(root) else ""


def read(settings: DataSettings) -> ImageTable:
    """Read a folder with one sub-folder per person, with cameras above or below them, or with a pattern.

    Each of the sub-folders `train/`, `query/` and `gallery/`, if there are any, holds such people or files. Without
    them every image is in the split "pool". The pattern's groups `person` and (optional) `camera` are searched for in
    each file's name, in the folder and all below it, or in the path if the pattern has a slash.
    """
    root = check_folder(settings.root)
    folders = sub_folders(root)
    splits = [name for name in SPLIT_FOLDERS if name in folders]
    wrong = [name for name in folders if name not in splits]
    if wrong and (splits or any(map(_LIKE_SPLIT.fullmatch, wrong))):
        wrong.sort(key=lambda name: not _LIKE_SPLIT.fullmatch(name))
        near = nearest(wrong[0].lower(), SPLIT_FOLDERS)
        expected = f"no other folders for splits than {', '.join(SPLIT_FOLDERS)}, and no others beside them"
        fix = f"Did you mean {near!r}? Rename it." if near else "Rename it, or move it elsewhere."
        raise UserError(str(root), expected=expected, got=f"the folder {wrong[0]!r}", fix=fix)
    places = [(f"{name}/", name) for name in splits] or [("", "pool")]
    if settings.person_pattern is not None:
        rows, notes = _rows_by_pattern(root, places, compile_pattern(settings.person_pattern))
    else:
        rows, notes = _rows_by_folder(root, places)
    beside = list_folder(root) if splits else Listing((), Counter())
    notes += left_out("the folder", beside.others + Counter({"image": len(beside.images)}))
    return named_table(root.resolve().name, root, rows, notes)


class _Tree(NamedTuple):
    """The images below one of the folders in a split; their paths are relative to it."""

    place: str
    split: str
    folder: str
    paths: tuple[str, ...]


def _rows_by_folder(root: Path, places: Sequence[tuple[str, str]]) -> tuple[list[NamedRow], list[str]]:
    trees: list[_Tree] = []
    others, beside = Counter[str](), 0
    for place, split in places:
        people = sub_folders(root / place)
        here = list_folder(root / place)
        if not people and here.images:
            got = f"{quantity(len(here.images), 'images')} and no sub-folder"
            possible = "Without people, images can be searched and embedded, but neither trained on nor scored."
            fix = f"{propose_pattern(here.images)} {possible}"
            raise UserError(str(root / place), expected="one sub-folder per person", got=got, fix=fix)
        if not people:
            raise empty_folder(root / place, here.others)
        beside += len(here.images)
        listed = {person: list_tree(root / place / person) for person in people}
        others += sum((listing.others for listing in listed.values()), here.others)
        empty = [person for person, listing in listed.items() if not listing.images]
        if empty:
            got = f"none in {first_three(empty)}"
            fix = "Remove the empty folders, or put the images in."
            raise UserError(str(root / place), expected="images in every person's folder", got=got, fix=fix)
        trees += [_Tree(place, split, person, listing.images) for person, listing in listed.items()]
    notes = left_out("the folder", others)
    if beside:
        notes.append(f"left out: {quantity(beside, 'images')} beside the people's folders.")
    rows, more = _rows_of_trees(root, trees)
    return rows, notes + more


def _rows_of_trees(root: Path, trees: Sequence[_Tree]) -> tuple[list[NamedRow], list[str]]:
    """Return the rows of PERSON/, CAMERA/PERSON/ or PERSON/CAMERA/ folders, and notes."""
    deep = [path for tree in trees for path in tree.paths if "/" in path]
    direct = sum(len(tree.paths) for tree in trees) - len(deep)
    outer = are_cameras(tree.folder for tree in trees)
    inner = are_cameras(path.partition("/")[0] for path in deep)
    if not deep or (direct and not inner and not outer):
        notes = []
        if deep:
            notes = [f"{len(deep):,} images in folders within a person's are that person's, such as {deep[0]!r}."]
        elif outer:
            notes = [not_people({tree.folder for tree in trees}, root)]
        return [_row(tree, path, tree.folder, "") for tree in trees for path in tree.paths], notes
    if inner == outer or all(path.count("/") > 1 for path in deep):
        raise _two_levels(root, trees, deep)
    rows, left = [], 0
    for tree in trees:
        for path in tree.paths:
            folder, slash, _ = path.partition("/")
            if outer and slash:
                rows.append(_row(tree, path, folder, tree.folder))
            elif outer:
                left += 1
            else:
                rows.append(_row(tree, path, tree.folder, folder if slash else ""))
    notes = [f"Read as {'CAMERA/PERSON/' if outer else 'PERSON/CAMERA/'}, such as {rows[0].path!r}."]
    if left:
        notes.append(f"left out: {quantity(left, 'images')} in a camera's folder but in no person's.")
    return rows, notes


def _row(tree: _Tree, path: str, person: str, camera: str) -> NamedRow:
    whole = f"{tree.place}{tree.folder}/{path}"
    return NamedRow(whole, person, camera, tree.split, whole)


def _two_levels(root: Path, trees: Sequence[_Tree], deep: Sequence[str]) -> UserError:
    deepest = max(deep, key=lambda path: path.count("/"))
    tree = next(tree for tree in trees if deepest in tree.paths)
    if deepest.count("/") > 1:
        return _many_levels(root, trees, f"{tree.folder}/{deepest}")
    outer, inner = "(?P<person>[^/]+)/", "(?P<camera>[^/]+)/"
    only = f" People must be one level below the folder that is given: is it {root / tree.place / tree.folder}?"
    return UserError(
        str(root),
        expected="one level of folders, of people; or two, of which one has names like cam1 or camera_north",
        got=f"two that could both be people, such as {tree.place}{tree.folder}/{deepest}",
        fix=f"Pass --data.person_pattern '^{outer}' if the outer folders are people, '^{outer}{inner}' if the inner "
        f"ones are cameras, '^{inner}{outer}' if the outer ones are." + (only if len(trees) == 1 else ""),
    )


def _many_levels(root: Path, trees: Sequence[_Tree], deepest: str) -> UserError:
    """Return the error for three levels of folders or more, with a pattern for each level that may be people."""
    levels = deepest.count("/")
    paths = [f"{tree.folder}/{path}".split("/") for tree in trees for path in tree.paths]
    names = [[parts[level] for parts in paths if len(parts) > level + 1] for level in range(levels)]
    camera = next((level for level in range(levels) if are_cameras(names[level])), -1)

    def pattern(person: int) -> str:
        groups = {person: "(?P<person>[^/]+)/", camera: "(?P<camera>[^/]+)/"}
        return "'^" + "".join(groups.get(level, "[^/]+/") for level in range(max(person, camera) + 1)) + "'"

    people = [level for level in range(levels) if level != camera]
    choices = [f"{pattern(level)} if {names[level][0]!r} is a person" for level in people]
    return UserError(
        str(root),
        expected="one level of folders, of people; or two, of which one has names like cam1 or camera_north",
        got=f"{levels} levels, such as {deepest}",
        fix=f"Pass --data.person_pattern {', '.join(choices[:-1])}, or {choices[-1]}.",
    )


def _rows_by_pattern(
    root: Path, places: Sequence[tuple[str, str]], pattern: re.Pattern[str]
) -> tuple[list[NamedRow], list[str]]:
    rows: list[NamedRow] = []
    notes: list[str] = []
    others = Counter[str]()
    for place, split in places:
        listing = list_tree(root / place)
        others += listing.others
        if not listing.images:
            raise empty_folder(root / place, listing.others)
        found = {path: match for path in listing.images if (match := search_name(pattern, path))}
        bad = [path for path in listing.images if path not in found]
        if bad:
            fix = f"Change the pattern, or remove these files. {propose_pattern(listing.images)}"
            raise wrong_names(root / place, bad, len(listing.images), f"the pattern {pattern.pattern!r}", fix)
        cut = [path for path, match in found.items() if loses_minus(match)]
        if cut:
            raise UserError(
                f"--data.person_pattern {pattern.pattern!r}",
                expected="a group `person` that includes the minus of an id, as in (?P<person>-?\\d+)",
                got=f"one that reads {cut[0]!r} as person {found[cut[0]]['person']}; {len(cut):,} such files",
                fix=propose_pattern(listing.images),
            )
        notes += unclear_minus(list(found.values()))
        rows += [
            NamedRow(place + path, match["person"], match.groupdict().get("camera") or "", split, place + path)
            for path, match in found.items()
        ]
    return rows, notes + left_out("the folder", others)
