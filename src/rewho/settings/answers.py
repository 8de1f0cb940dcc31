"""Settings of the commands that answer a question: `doctor`."""

from __future__ import annotations

from dataclasses import dataclass

from rewho.settings.fields import Command


@dataclass(frozen=True)
class DoctorSettings:
    """Settings of `rewho doctor`.

    Args:
        json: Print the answer as JSON.
    """

    command = Command(
        "doctor",
        "what this installation can do: versions, devices, codecs, extras; for bug reports",
        examples=("doctor", "doctor --json", "doctor --json --quiet"),
    )

    json: bool = False
