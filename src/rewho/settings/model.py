"""Settings of the network and its losses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

from rewho.settings.fields import Mistake, Range, Share, YesNoAuto

StrideOneAt = Literal["layer4", "layer3", "none"]
Pooling = Literal["stabilized_gmp", "gem", "gap", "gmp"]
Head = Literal["fc_bn", "bn", "none"]
SmoothingOver = Literal["all", "others"]
Classifier = Literal["linear", "circle"]
TripletDistance = Literal["euclidean", "unit_euclidean", "unit_squared"]
ImageSize = Annotated[tuple[int, ...], Range(1, 10_000)]


@dataclass(frozen=True)
class ModelSettings:
    """The network: backbone, pooling and head (FD section 3.1, figure 2), or a network of several branches.

    Args:
        kind: single_view, mgn (multiple granularity network) or bdb (batch drop block).
        backbone: squeezenet1_0, squeezenet1_1, their variants `_in` (with normalised style, for cameras that were not
            trained on), resnet18 … resnet152, such as resnet50_ibn_a with instance normalisation (IBN-a), any model
            name of timm, or a name that a script registered in `rewho.models.backbone.BACKBONES`.
        stride_one_at: ResNet stage whose stride is 1, for a total stride of 16: layer4 (the usual reading of "conv4_1")
            or layer3 (the literal one); none keeps torchvision's total stride of 32, as MoCo's code does.
        pooling: stabilized_gmp (FD equation 5), gem, gap or gmp.
        pooling_kernel: Kernel of the average pooling inside stabilized_gmp, in cells of the feature map.
        head: Layers after the pooling of a single-view model: fc_bn (the paper's embedding), bn (BNNeck: the normalised
            pooled feature; a triplet loss uses the feature before normalisation) or none.
        embedding: Length of the embedding, such as 512, 2048 (students R50b, R152b) or 256 (partial teachers). For mgn
            and bdb, of all heads together: a multiple of 8 (mgn) or 3 (bdb). Heads bn and none keep the backbone's.
        extra_bn: Batch normalisation between backbone and head (LUPerson section 4.3): yes, no, or auto, which adds it
            for weights pre-trained without labels.
        view: holistic, up1, mid1, dn1, up2, mid2 or dn2 (FD figure 1), or a YAML file that describes a view.
        input_size: Height and width of the network's input in pixels; empty uses the view's own size.
        pretrained: Initial weights: none, imagenet or imagenet_v2 (downloaded; the second are torchvision's newer ones
            of ResNet-50 and larger), a model folder of `rewho train` or `rewho pretrain`, starter (which comes with
            rewho), or a .safetensors / .pth file of backbone weights, such as a checkpoint of MoCo's or LUPerson's
            code.
        pretrained_labels: Whether these weights were trained with labels: yes, no, or auto, which detects it for
            ImageNet weights, model folders and checkpoints of MoCo's code, not for a plain file of weights.
        pixel_mean: Channel means (RGB, 0 to 1); empty uses those of the initial weights.
        pixel_std: Channel standard deviations (RGB, 0 to 1); empty uses those of the initial weights.
    """

    kind: Literal["single_view", "mgn", "bdb"] = "single_view"
    backbone: str = "squeezenet1_1"
    stride_one_at: StrideOneAt = "layer4"
    pooling: Pooling = "stabilized_gmp"
    pooling_kernel: Annotated[int, Range(1)] = 4
    head: Head = "fc_bn"
    embedding: Annotated[int, Range(1)] = 512
    extra_bn: YesNoAuto = "auto"
    view: str = "holistic"
    input_size: ImageSize = ()
    pretrained: str = "imagenet"
    pretrained_labels: YesNoAuto = "auto"
    pixel_mean: Annotated[tuple[float, ...], Range(0, 1, above=True)] = ()
    pixel_std: Annotated[tuple[float, ...], Range(0, 1, above=True)] = ()

    def mistakes(self) -> Iterator[Mistake]:
        """Yield broken rules between fields."""
        if self.pretrained == "none" and self.pretrained_labels != "auto":
            yield Mistake("pretrained_labels", "auto beside pretrained none", "Leave it out.")
        if self.embedding % {"mgn": 8, "bdb": 3}.get(self.kind, 1):
            fix = "Pass {at}embedding 2048 with mgn, 1536 with bdb."
            yield Mistake("embedding", "a multiple of 8 for mgn, of 3 for bdb", fix)


@dataclass(frozen=True)
class LossSettings:
    """Identity loss (FD equation 1, as a mean over the batch) and triplet loss.

    Args:
        identity: Weight of each head's identity loss; 0 builds no classifier.
        triplet: Weight of each head's batch-hard triplet loss; 0 is off.
        label_smoothing: Fraction of the target spread over other identities, 0 to 1.
        smoothing_over: all (PyTorch: fraction / C to every class) or others (fast-reid: fraction / (C - 1) to the
            others).
        classifier: linear, or circle (circle-softmax, fast-reid's MGN).
        circle_scale: Scale of circle-softmax.
        circle_margin: Margin of circle-softmax.
        margin: Margin of the triplet loss; 0 is the soft margin.
        triplet_distance: euclidean, unit_euclidean (of L2-normalised embeddings) or unit_squared (2 - 2 cos).
    """

    identity: Annotated[float, Range(0, 1_000)] = 1.0
    triplet: Annotated[float, Range(0, 1_000)] = 0.0
    label_smoothing: Share = 0.0
    smoothing_over: SmoothingOver = "all"
    classifier: Classifier = "linear"
    circle_scale: Annotated[float, Range(0.1, 1_000)] = 64.0
    circle_margin: Share = 0.35
    margin: Annotated[float, Range(0, 100)] = 0.3
    triplet_distance: TripletDistance = "euclidean"

    def mistakes(self) -> Iterator[Mistake]:
        """Yield broken rules between fields."""
        if not self.identity and not self.triplet:
            yield Mistake("identity", "a weight above 0 for it or for triplet", "Pass {at}identity 1.")
