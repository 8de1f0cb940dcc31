"""Say what a file or folder is, what is odd about it, and which commands to run next; changes nothing."""

from __future__ import annotations

from rewho.core.check import UserError, is_dir, is_file
from rewho.data.file_lists import check_folder
from rewho.inspection.answer import Answer
from rewho.inspection.files import describe_file
from rewho.inspection.folders import describe_folder
from rewho.settings.answers import LookSettings
from rewho.settings.fields import check


def run(settings: LookSettings) -> str:
    """Return the answer as text."""
    check(settings)
    path = settings.path.expanduser()
    if is_file(path):
        return describe_file(path).text(path)
    if is_dir(path):
        try:
            return describe_folder(path).text(path)
        except PermissionError as error:
            return Answer("a folder that cannot be read", [], [f"{error.strerror}: {error.filename}."]).text(path)
    if path.exists():
        return Answer("a pipe, socket or device", [], ["rewho reads plain files and folders only."]).text(path)
    check_folder(path)
    raise UserError(str(path), expected="a file or folder", got="nothing there", fix="Check the path.")
