"""A run of a stage and its folder, which is claimed and locked at the start and gets its manifest last.

`manifest.json` means that the stage is complete. A re-run with the same settings and inputs does nothing; with others
it fails and shows the difference. `run.json` is written at the start, so that a resumed run is checked the same way.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rewho.core.artifact import ASIDE, MANIFEST, compute_hashes, plain, remove_unfinished, write_json
from rewho.core.check import UserError
from rewho.core.invocation import COMMAND_FILE
from rewho.core.lock import LOCK, hold, release
from rewho.core.progress import say, say_finished
from rewho.core.record import (
    CHANGED,
    CONTINUED,
    KEPT,
    REQUIRED,
    STARTED,
    find_damage,
    list_differences,
    read_record,
    read_versions,
    rewho_version,
    seal,
)


def accept_changes(folder: Path) -> None:
    """Record the changed settings that `Stage.begin` allowed, if there are any, as the settings of the run."""
    if (folder / CHANGED).is_file():
        (folder / CHANGED).replace(folder / STARTED)


@dataclass(frozen=True)
class Stage:
    """One run of a stage, and the folder that it fills.

    Args:
        folder: The stage's folder.
        name: The stage's verb, such as "train".
        settings: The resolved settings.
        inputs: Digest of each input by name, such as the rows of a data set.
        ignore: Dotted names of settings that may change on resume.
        work: Pattern of the files that make a run resumable; empty is any file. A run that failed before it wrote one
            does not restrict the next run's settings.
        fixed: Dotted names of settings and inputs that may not change even with --allow_config_change.
        lock: Name of the lock file in the folder; empty where several builders share the folder and lock their parts.
    """

    folder: Path
    name: str
    settings: Mapping[str, Any]
    inputs: Mapping[str, str]
    ignore: tuple[str, ...] = ()
    work: str = ""
    fixed: tuple[str, ...] = ()
    lock: str = LOCK

    def begin(self, *, allow_change: bool = False) -> Literal["new", "unfinished", "finished"]:
        """Claim the folder, lock it until the run ends, and return the state of its run.

        Allowed changes are written to a file of their own. The caller calls `accept_changes` once a checkpoint fits
        them; until then the earlier settings hold.
        """
        if (self.folder / MANIFEST).is_file():
            return self._finished()
        if self.lock:
            hold(self.folder / self.lock, f"--out {self.folder}")
        try:
            if (self.folder / MANIFEST).is_file():  # finished while we waited for the lock
                return self._finished()
            return self._claim(allow_change=allow_change)
        except BaseException:
            release(self.folder / self.lock)
            raise

    def _finished(self) -> Literal["finished"]:
        self._compare(read_record(self.folder / MANIFEST, **REQUIRED), finished=True)
        if wrong := find_damage(self.folder):
            fix = "Restore it from a copy, or choose another --out to run it again."
            raise UserError(f"--out {self.folder}", expected="the files of the finished run", got=wrong, fix=fix)
        release(self.folder / self.lock)
        say_finished(self.folder)
        return "finished"

    def _claim(self, *, allow_change: bool) -> Literal["new", "unfinished"]:
        started = self.folder / STARTED
        target = started
        state: Literal["new", "unfinished"] = "new"
        if self.lock:
            remove_unfinished(self.folder, ours=True)
        others = self._others()
        before: dict[str, Any] = {}
        if started.is_file() and (any(self.folder.glob(self.work)) if self.work else others):
            before = read_record(started, **REQUIRED)
            changed = self._compare(before, allow_change=allow_change)
            target = self.folder / CHANGED if changed else started
            state = "unfinished"
        elif not started.is_file() and others:
            raise UserError(
                f"--out {self.folder}",
                expected="a new or empty folder, or one of an earlier run of this command",
                got=f"a folder with other files, such as {others[0].name!r}",
                fix="Choose another folder with --out.",
            )
        (self.folder / CHANGED).unlink(missing_ok=True)
        if state == "new":
            (self.folder / KEPT).unlink(missing_ok=True)
        write_json(target, self._record() | {name: before[name] for name in (CONTINUED,) if name in before})
        return state

    def reopen(self, note: Mapping[str, Any]) -> None:
        """Make a finished run an unfinished one with these settings; `note` says in its records how it continues.

        The new record is written first: a process that ends in between leaves a run that is still finished.
        """
        if self.lock:
            hold(self.folder / self.lock, f"--out {self.folder}")
        before = read_record(self.folder / MANIFEST).get(CONTINUED, [])
        write_json(self.folder / STARTED, self._record() | {CONTINUED: [*before, plain(note)]})
        (self.folder / MANIFEST).unlink()

    def _others(self) -> list[Path]:
        """Return the folder's entries except records of runs, locks and leftovers of killed writers."""
        entries = sorted(self.folder.iterdir()) if self.folder.is_dir() else []
        own = (STARTED, CHANGED, KEPT, MANIFEST, COMMAND_FILE)
        return [one for one in entries if one.name not in own and not one.name.startswith((ASIDE, LOCK))]

    def files(self) -> list[Path]:
        """Return all files that the stage wrote, sorted."""
        return [file for one in self._others() for file in sorted([one, *one.rglob("*")]) if file.is_file()]

    def record_file(self, file: Path) -> Path:
        """Record a finished file with its hash, for `is_recorded` of a resumed run; return the file."""
        record = read_record(self.folder / KEPT) if (self.folder / KEPT).is_file() else {"files": {}}
        record["files"] |= compute_hashes(self.folder, [file])
        write_json(self.folder / KEPT, record)
        return file

    def is_recorded(self, file: Path) -> bool:
        """Return whether a file is as it was when recorded; if not, it must be written again."""
        record = read_record(self.folder / KEPT) if (self.folder / KEPT).is_file() else {"files": {}}
        wanted = record["files"].get(file.relative_to(self.folder).as_posix())
        if not file.is_file() or wanted == compute_hashes(self.folder, [file]).popitem()[1]:
            return file.is_file()
        say(f"{file} is {'damaged' if wanted else 'not recorded as finished'}: writing it again")
        return False

    def _compare(self, record: Mapping[str, Any], *, allow_change: bool = False, finished: bool = False) -> bool:
        """Return whether settings or inputs changed."""
        if record.get("stage") != self.name:
            raise UserError(
                f"--out {self.folder}",
                expected=f"a new or empty folder, or one of an earlier `rewho {self.name}`",
                got=f"one of `rewho {record.get('stage')}`",
                fix="Choose another folder with --out.",
            )
        lines = self.differences(record)
        fixed = [line for line in lines if line.partition(": ")[0] in self.fixed]
        if lines and allow_change and not fixed:
            say("resuming with these changes:\n    " + "\n    ".join(lines))
        elif lines:
            allowed = "allow_config_change" in self.settings and not finished and not fixed
            raise UserError(
                f"--out {self.folder}",
                expected=f"the settings and data of the {'finished ' if finished else ''}run in this folder",
                got="different ones:\n    " + "\n    ".join(fixed if allow_change and fixed else lines),
                fix="Choose another folder with --out, or undo the change"
                + (", or pass --allow_config_change." if allowed else ".")
                + (" --allow_config_change does not cover these." if fixed else ""),
            )
        return bool(lines)

    def differences(self, record: Mapping[str, Any]) -> list[str]:
        """Return a line for each setting and input that differs from those of a record and matters."""
        return list_differences(
            {"stage": record.get("stage"), **record.get("settings", {}), "inputs": record.get("inputs", {})},
            {"stage": self.name, **self.settings, "inputs": self.inputs},
            self.ignore,
        )

    def _record(self) -> dict[str, Any]:
        return {
            "stage": self.name,
            "rewho": rewho_version(),
            "settings": plain(self.settings),
            "inputs": dict(self.inputs),
            "command": sys.argv,
            "environment": read_versions(),
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }

    def finish(self, outputs: Iterable[Path], counts: Mapping[str, Any], seconds: float) -> Path:
        """Write the manifest, which marks the stage as complete; return its path.

        Args:
            outputs: The stage's files; each is hashed.
            counts: Numbers to record, such as images and steps.
            seconds: Duration of the run.
        """
        record = read_record(self.folder / STARTED)
        files = compute_hashes(self.folder, outputs)
        kept = read_record(self.folder / KEPT)["files"] if (self.folder / KEPT).is_file() else {}
        changed = [name for name, entry in kept.items() if files.get(name, entry) != entry]
        if changed:
            fix = "Run the same command again, which writes damaged files again."
            got = f"{changed[0]} with other bytes"
            raise UserError(f"--out {self.folder}", expected="the files that this run wrote", got=got, fix=fix)
        record |= {"files": files, "counts": plain(counts), "seconds": round(seconds, 3)}
        written = write_json(self.folder / MANIFEST, seal(record))
        (self.folder / KEPT).unlink(missing_ok=True)
        release(self.folder / self.lock)
        return written
