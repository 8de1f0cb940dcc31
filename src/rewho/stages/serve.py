"""Show a gallery as a web page and as an API, until it is stopped."""

from __future__ import annotations

import functools
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rewho.core.check import UserError, describe_error, install, is_dir, is_file
from rewho.core.progress import say
from rewho.core.runtime import EXIT_INTERRUPTED, set_allocator
from rewho.gallery.gallery import Gallery
from rewho.settings.fields import check
from rewho.settings.serve import LOOPBACK, ServeSettings
from rewho.stages.serve_work import adapt, cut_video, remove_ended

if TYPE_CHECKING:
    from rewho.service.worker import Worker


def run(settings: ServeSettings) -> None:
    """Serve the gallery until SIGINT or SIGTERM; jobs that run then begin again with the next service."""
    check(settings)
    try:
        import uvicorn

        from rewho.service.app import build_app
    except ImportError as error:
        fix = install("gallery")
        got = f"none: {describe_error(error)}"
        raise UserError("serve", expected="the packages of the extra gallery", got=got, fix=fix) from error
    _check_files(settings)
    set_allocator(trim=2**20, mapped=2**18, arenas=2)  # so that large uploads leave nothing behind
    secure = settings.certificate is not None or settings.proxy
    with _listen(settings) as listener, Gallery(settings.gallery, settings.device) as gallery:
        remove_ended(gallery)
        port = listener.getsockname()[1]
        app = build_app(
            gallery,
            users=settings.users,
            secure=secure,
            sources=settings.sources,
            runs=settings.runs,
            limits=settings.limits,
            names=_names(settings),
            write=write_line,
            cut_video=functools.partial(cut_video, gallery, settings.crop_recipe),
            adapt=functools.partial(adapt, gallery, settings.adapt_recipe),
        )
        if settings.users and (first := gallery.accounts.first_admin()):
            print(f"first user: {first[0]}, password: {first[1]} (shown this once)", file=sys.stderr, flush=True)  # noqa: T201
        scheme = "https" if settings.certificate else "http"
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        say(f"{settings.gallery}: open {scheme}://{host}:{port} in a browser; Ctrl+C ends the service")
        if not settings.proxy and not settings.certificate and settings.host not in LOOPBACK:
            say("warning: without --certificate, or --proxy yes behind an https proxy, passwords travel openly")
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=settings.proxy,
            ssl_certfile=settings.certificate,
            ssl_keyfile=settings.key,
            timeout_graceful_shutdown=10,
        )
        server = uvicorn.Server(config)
        app.state.worker.hurried = lambda: server.force_exit
        with _leaving(app.state.worker):
            server.run([listener])


@contextmanager
def _leaving(worker: Worker) -> Iterator[None]:
    """End the process at once, behind what is inside, where a job still runs: Python would wait for its threads."""
    try:
        yield
    finally:
        if worker.runs():
            say("ended at once; a job that ran begins again with the next service")
            sys.stderr.flush()
            os._exit(EXIT_INTERRUPTED)


def write_line(line: str) -> None:
    """Write a line of the log on standard error."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - the log


def _check_files(settings: ServeSettings) -> None:
    files = {
        "certificate": (settings.certificate, "a PEM file"),
        "key": (settings.key, "a PEM file"),
        "crop_recipe": (settings.crop_recipe, "a YAML file"),
        "adapt_recipe": (settings.adapt_recipe, "a YAML file"),
    }
    for option, (file, expected) in files.items():
        if file is not None and not is_file(file):
            raise UserError(f"--{option}", expected=expected, got=f"no file {file}", fix="Check the path.")
    for option, folder in {"sources": settings.sources, "runs": settings.runs}.items():
        if folder is not None and not is_dir(folder):
            got = f"no folder {folder}"
            raise UserError(f"--{option}", expected="a folder", got=got, fix="Make it, or check the path.")


def _names(settings: ServeSettings) -> frozenset[str]:
    """Return the host names to answer; at an address of all networks with users, any."""
    if settings.host not in LOOPBACK and not settings.names:
        return frozenset()
    return frozenset(name.lower() for name in (*LOOPBACK, settings.host, *settings.names))


def _listen(settings: ServeSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.host, settings.port))
        listener.listen(2048)  # who comes before the application is ready waits, rather than being refused
    except (OSError, OverflowError) as error:
        listener.close()
        got = f"{settings.host} port {settings.port}: {describe_error(error)}"
        fix = "Choose another --port, or --port 0 for a free one."
        raise UserError("address", expected="one that is free", got=got, fix=fix) from error
    return listener
