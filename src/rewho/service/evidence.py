"""A case as a zip file, sent to the browser; its copy on this machine is removed before it is sent."""

from __future__ import annotations

import tempfile
from pathlib import Path

from fastapi.responses import Response

from rewho.gallery.records import Actor
from rewho.service.state import State


def evidence_of(state: State, case: int, by: Actor) -> Response:
    """Return a case as a zip file; the export is in the audit."""
    with state.place(), tempfile.TemporaryDirectory(prefix="rewho-") as folder:
        content = state.gallery.cases.export(case, Path(folder) / f"case-{case}.zip", by=by).read_bytes()
    headers = {"Content-Disposition": f'attachment; filename="case-{case}.zip"'}
    return Response(content, headers=headers, media_type="application/zip")
