"""Settings of `rewho serve`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from rewho.settings.fields import Command, Device, Mistake, Range

LOOPBACK = ("127.0.0.1", "::1", "localhost")
"""Addresses that only this machine reaches."""


@dataclass(frozen=True)
class ServiceLimits:
    """What one service accepts, so that no client takes it from the others.

    Args:
        body: Most megabytes of a request.
        parts: Most fields and files of a form.
        images: Most images of one query.
        pixels: Most megapixels of an image, read from its header before it is decoded.
        decoding: Most megabytes that decoding an image takes, as its header tells; progressive JPEGs, lossless WebP and
            transparency take two or three times as much per pixel as other images.
        body_seconds: Longest time in which a request's body arrives.
        uploads: Requests with a body of more than 64 kB that are accepted at the same time.
        searches: Searches and other work on the gallery that run at the same time.
        wait_seconds: Longest wait for one of these places.
        logins: Wrong passwords per name and address in a quarter of an hour.
    """

    body: Annotated[float, Range(0, 1024, above=True)] = 12.0
    parts: Annotated[int, Range(1, 1000)] = 40
    images: Annotated[int, Range(1, 100)] = 8
    pixels: Annotated[float, Range(0, 25, above=True)] = 12.5
    decoding: Annotated[float, Range(0, 1024, above=True)] = 46.0
    body_seconds: Annotated[float, Range(0, 3600, above=True)] = 20.0
    uploads: Annotated[int, Range(1, 1000)] = 3
    searches: Annotated[int, Range(1, 1000)] = 4
    wait_seconds: Annotated[float, Range(0, 600)] = 5.0
    logins: Annotated[int, Range(1, 1000)] = 5


@dataclass(frozen=True)
class ServeSettings:
    """Settings of `rewho serve`.

    Args:
        gallery: Folder of the gallery.
        host: Address to listen at; another one than this machine's own needs users.
        port: Port to listen at; 0 takes a free one.
        users: Let only users in; the first start makes an administrator and prints their password once. A gallery that
            has users lets nobody else in, with or without this option.
        names: Host names under which browsers reach the service, besides the address itself.
        certificate: PEM file with the certificate, for https.
        key: PEM file with its key.
        proxy: A proxy in front serves https, so that cookies are sent only over https.
        sources: Folder whose sub-folders, images, tables and videos may be added from the page.
        runs: Folder of `rewho evaluate` and of trainings, whose pages the Quality page shows.
        crop_recipe: For videos: YAML file with settings of `rewho crop`, such as the detector.
        adapt_recipe: For adapting the model to the gallery: YAML file with settings of `rewho adapt`; 10 epochs of 100
            steps by default.
        device: Where images are embedded.
        limits: Limits.
    """

    command = Command(
        "serve",
        "show a gallery as a web page and as an API",
        "gallery",
        common="gallery host port users names certificate key proxy sources runs crop_recipe adapt_recipe device",
        examples=(
            "serve gallery",
            "serve gallery --sources footage --crop_recipe crop.yaml --port 9000",
            "serve gallery --users yes --host 0.0.0.0 --certificate cert.pem --key key.pem",
        ),
        required="gallery",
    )

    gallery: Path = Path("gallery")
    host: str = "127.0.0.1"
    port: Annotated[int, Range(0, 65_535)] = 8642
    users: bool = False
    names: tuple[str, ...] = ()
    certificate: Path | None = None
    key: Path | None = None
    proxy: bool = False
    sources: Path | None = None
    runs: Path | None = None
    crop_recipe: Path | None = None
    adapt_recipe: Path | None = None
    device: Device = "auto"
    limits: ServiceLimits = field(default_factory=ServiceLimits)

    def mistakes(self) -> Iterator[Mistake]:
        """Yield broken rules between fields."""
        if self.host not in LOOPBACK and not self.users:
            fix = "Pass {at}users yes, or {at}host 127.0.0.1."
            yield Mistake("host", "an address of this machine only, because nobody has to log in", fix)
        if (self.certificate is None) != (self.key is None):
            yield Mistake("certificate", "a certificate and its key", "Pass {at}certificate and {at}key, or neither.")
