"""What the guides take for granted, rendered and small: people, photographs, videos, crop sets, models, galleries."""

import csv
import json
import re
import shutil
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import torch
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from PIL import Image
from safetensors.torch import save_file
from torchvision import models

from judged_gallery import make_judged
from quick_settings import CPU, distilling, quick, teacher_settings
from rewho.rendered import street_frames, write_people, write_street
from rewho.settings import (
    CropSettings,
    DataSettings,
    DetectorSettings,
    PoseSettings,
    RepresentSettings,
    RuleSettings,
    SamplingSettings,
    ScreenSettings,
    TermsSettings,
    TrackingSettings,
)
from rewho.stages import crop, distill, represent, teachers, train

FORM = ("name", "source", "licence", "purpose", "legal_basis", "contact", "retention")
IMAGENET = ("squeezenet1_1", "resnet18", "resnet50")


class Materials:
    """Things that pages name, each made when it is first asked for.

    Args:
        folder: An empty folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def place(self, kind: str, path: Path) -> None:
        """Put a thing of a kind, a method of this class, at a path."""
        made = self.find(kind)
        path.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if made.is_dir() else shutil.copy)(made, path)
        for beside in made.parent.glob(f"{made.stem}.*"):
            if beside != made:
                shutil.copy(beside, path.with_suffix("".join(beside.suffixes)))

    def find(self, kind: str) -> Path:
        """Return where a thing of a kind is."""
        made = self._folder / kind
        if not made.exists():
            maker: Callable[[Path], object] = getattr(self, kind)
            maker(made)
        return made

    def _market(self) -> Path:
        return self.find("market")

    def market(self, folder: Path) -> None:
        """A data set in Market-1501's folders."""
        write_people(
            folder, identities=10, test_identities=6, cameras=3, images_per_camera=2, distractors=4, junk=2, seed=5
        )

    def cuhk(self, folder: Path) -> None:
        """A data set in CUHK03-NP's folders."""
        self._rename(folder, lambda person, camera, number: f"{person}_c{1 + int(camera) % 2}_{number % 100}.png")

    def msmt(self, folder: Path) -> None:
        """A data set in MSMT17's names, in Market-1501's folders."""
        self._rename(folder, lambda person, camera, number: f"{person}_c0{camera}_{number:04d}.jpg")

    def _rename(self, folder: Path, name: Callable[[str, str, int], str]) -> None:
        for image in sorted(self._market().glob("*/*.jpg")):
            if found := re.match(r"(?!0000)(\d{4})_c(\d)", image.name):
                part = folder / image.parent.name
                part.mkdir(parents=True, exist_ok=True)
                shutil.copy(image, part / name(found[1], found[2], len(list(part.iterdir()))))

    def people(self, folder: Path) -> None:
        """A folder per person, with cameras in the files' names, and a list."""
        rows = []
        for image in sorted((self._market() / "bounding_box_train").iterdir()):
            person, camera, number = re.match(r"(\d+)_c(\d+)s\d_(\d+)", image.name).groups()
            name = {"0001": "adam", "0002": "eve"}.get(person, f"person-{person}")
            copy = folder / name / f"{person}_cam{camera}_{number}.jpg"
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(image, copy)
            rows.append((copy.relative_to(folder), name, camera))

    def listed(self, folder: Path) -> None:
        """Folders of cameras with a list of who is where."""
        rows = []
        for number, image in enumerate(sorted((self._market() / "bounding_box_train").iterdir())):
            person, camera = re.match(r"(\d+)_c(\d+)", image.name).groups()
            copy = folder / f"camera{camera}" / f"{number:04d}.jpg"
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(image, copy)
            rows.append((copy.relative_to(folder), f"person-{person}", camera))
        with (folder / "images.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("path", "person", "camera"), *rows])

    def yard(self, folder: Path) -> None:
        """Images such as north-adam-1.jpg."""
        folder.mkdir()
        for number, image in enumerate(sorted((self._market() / "bounding_box_train").iterdir())):
            person, camera = re.match(r"(\d+)_c(\d+)", image.name).groups()
            shutil.copy(image, folder / f"gate{camera}-p{person}-{number}.jpg")

    def photos(self, folder: Path) -> None:
        """A folder of images of people."""
        folder.mkdir()
        for number, image in enumerate(sorted((self._market() / "bounding_box_train").iterdir())):
            shutil.copy(image, folder / f"{number:04d}.jpg")

    def photographs(self, folder: Path) -> None:
        """Photographs with their detections."""
        self.photos(folder)
        for path in sorted(folder.iterdir()):
            found = {"bbox": [2, 2, 62, 126], "conf": 0.9, "pose": [[32, 8]] * 17, "prob": [[0.9]] * 17}
            path.with_suffix(".detections.json").write_text(json.dumps({"1": [[0, found]]}))

    def frame(self, path: Path) -> None:
        """A frame of a video."""
        image = next(iter(street_frames(1.0, people=6)))[0]
        Image.fromarray(image).save(path.with_suffix(".jpg"))
        path.with_suffix(".jpg").rename(path)

    def cameras(self, path: Path) -> None:
        """Which camera took each video, and when."""
        start = "2026-05-02T12:00:00+02:00"
        path.write_text(f"video,camera,start\ndoor.mp4,yard,{start}\nyard.mp4,lift,{start}\n")

    def crowd(self, folder: Path) -> None:
        """A data set of so many people that a false match rate of 1 % can be measured."""
        write_people(
            folder,
            identities=4,
            test_identities=80,
            cameras=2,
            images_per_camera=1,
            distractors=0,
            junk=0,
            size=(64, 32),
        )

    def image(self, path: Path) -> None:
        """An image of a person."""
        shutil.copy(sorted((self._market() / "query").iterdir())[0], path)

    def video(self, path: Path) -> None:
        """A street, with its detections beside it."""
        made = write_street(path.with_suffix(".mp4"), 12.0, people=6, seed=4)
        made.rename(path)

    def videos(self, folder: Path) -> None:
        """A folder of streets."""
        folder.mkdir()
        for seed, name in enumerate(("door", "yard"), 6):
            write_street(folder / f"{name}.mp4", 6.0, people=5, size=(240, 426), seed=seed)

    def terms(self, path: Path) -> None:
        """Legal terms, filled in."""
        path.write_text(yaml.safe_dump(dict.fromkeys(FORM, "rendered people")))

    def terms_recipe(self, path: Path) -> None:
        """A recipe with terms."""
        path.write_text(yaml.safe_dump({"terms": dict.fromkeys(FORM, "rendered people")}))

    def crops(self, folder: Path) -> None:
        """A crop set with tracks."""
        crop.run(
            CropSettings(
                (self.find("videos"),),
                out=folder,
                terms=TermsSettings(*["rendered people"] * len(FORM)),
                detector=DetectorSettings(kind="replay"),
                pose=PoseSettings(kind="detector"),
                sampling=SamplingSettings(by="seconds", seconds=0.5),
                tracking=TrackingSettings(kind="motion"),
                rules=RuleSettings(min_width=12, min_confidence=0.5),
                screen=ScreenSettings(min_frames=0),
                workers=0,
            )
        )

    def model(self, folder: Path) -> None:
        """The folder of a training."""
        train.run(quick(self._market(), folder))

    def experts(self, folder: Path) -> None:
        """The folder of two teachers."""
        teachers.run(teacher_settings(self._market(), folder))

    def distilled(self, folder: Path) -> None:
        """The folder of a distillation."""
        out = folder.with_name("representations")
        data = DataSettings(root=self._market(), workers=0)
        represent.run(RepresentSettings(teachers=(self.find("experts"),), out=out, data=data, engine=CPU))
        distill.run(distilling(self._market(), self.find("model"), out, folder))

    def gallery(self, folder: Path) -> None:
        """A gallery whose first results were judged."""
        with tempfile.TemporaryDirectory() as place:
            shutil.copytree(make_judged(Path(place), self.find("model")), folder)

    def certificate(self, path: Path) -> None:
        """A certificate of this machine's own, with its key beside it."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
        now = datetime.now(UTC)
        made = x509.CertificateBuilder(
            name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(1)
        )
        path.write_bytes(made.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        path.with_name("key").write_bytes(pem)

    def key(self, path: Path) -> None:
        """The key of the certificate."""
        self.find("certificate")
        assert path.is_file()

    def weights(self, path: Path) -> None:
        """A file of a backbone's weights."""
        save_file(models.resnet18().state_dict(), path)

    def checkpoint(self, path: Path) -> None:
        """Weights as other programs keep them."""
        torch.save({"state_dict": models.resnet50().state_dict()}, path)

    def ids(self, path: Path) -> None:
        """A list of people to train on."""
        path.write_text("".join(f"{person}\n" for person in range(1, 6)))

    def imagenet(self, folder: Path) -> None:
        """Files in torch's cache that have the names of ImageNet's weights and hold random ones."""
        (folder / "hub" / "checkpoints").mkdir(parents=True)
        for name in IMAGENET:
            url = models.get_model_weights(name).IMAGENET1K_V1.url
            torch.save(models.get_model(name).state_dict(), folder / "hub" / "checkpoints" / Path(url).name)
