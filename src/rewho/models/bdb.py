"""BDB, the batch drop block network (Dai et al., ICCV 2019): a global branch and one with dropped rows.

While training, the second branch loses the same band of rows in every image of the batch, so that it cannot rely on
them and the triplet loss compares the same parts of all images. In evaluation mode nothing is dropped.

Letters: N images, C channels, h and w height and width of the map, D embedding of both branches together.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rewho.models.backbone import Backbone
from rewho.models.heads import Embedding, Features
from rewho.models.single_view import SingleViewModel, extra_normalisation
from rewho.settings import ModelSettings

HEIGHT_SHARE = 0.33
"""Share of the map's rows that are dropped; all columns are."""


class BatchDrop(nn.Module):
    """Sets one band of rows to zero while training, the same in the whole batch.

    Its position comes from torch's CPU generator, which the training loop seeds at every step.
    """

    def __init__(self, share: float = HEIGHT_SHARE) -> None:
        super().__init__()
        self.share = share

    def forward(self, feature_map: Tensor) -> Tensor:
        """Map [N, C, h, w] to the same shape."""
        if not self.training:
            return feature_map
        height = feature_map.shape[2]
        rows = round(self.share * height)
        top = int(torch.randint(height - rows + 1, ()))
        kept = torch.ones(height, 1, dtype=feature_map.dtype)
        kept[top : top + rows] = 0
        return feature_map * kept.to(feature_map.device, non_blocking=True)


class BatchDropModel(SingleViewModel):
    """Global branch and branch with dropped rows; the model's embedding is the concatenation of theirs.

    `settings.embedding` is the length of both together, a multiple of 3: one third global, two thirds of the dropped
    branch; 512 + 1024 = 1536 in the paper, with images of 384 x 128. Pooling and head of the settings are replaced by
    BDB's.

    Example:
        >>> settings = ModelSettings(kind="bdb", backbone="resnet18", embedding=96, pretrained="none")
        >>> BatchDropModel(settings, (96, 32)).eval()(torch.zeros(2, 3, 96, 32, dtype=torch.uint8)).shape
        torch.Size([2, 96])
    """

    def build(self, settings: ModelSettings, backbone: Backbone) -> None:
        """Create both branches."""
        from timm.models.resnet import Bottleneck

        third, channels = settings.embedding // 3, backbone.channels
        self.settings = replace(settings, pooling="gap", head="fc_bn")
        self.backbone = backbone
        self.recalibration = extra_normalisation(settings, channels)
        self.whole = Embedding(channels, third)
        self.bottleneck = Bottleneck(channels, channels // 4)
        self.drop = BatchDrop()
        self.part = Embedding(channels, 2 * third)

    def classified_sizes(self) -> tuple[int, ...]:
        """Return the length of both branches' embeddings."""
        third = self.settings.embedding // 3
        return third, 2 * third

    def _embeddings(self, feature_map: Tensor) -> tuple[Tensor, Tensor]:
        feature_map = self.recalibration(feature_map)
        whole = F.relu(self.whole(feature_map.mean(dim=(2, 3))))
        part = F.relu(self.part(self.drop(self.bottleneck(feature_map)).amax(dim=(2, 3))))
        return whole, part

    def represent(self, feature_map: Tensor) -> Tensor:
        """Return the concatenated embeddings of both branches, [N, D], of a feature map [N, C, h, w]."""
        return torch.cat(self._embeddings(feature_map), dim=1)

    def features(self, images: Tensor) -> Features:
        """Return both embeddings of images [N, 3, H, W], for classifiers and triplets alike."""
        both = self._embeddings(self.feature_map(images))
        return Features(both, both)
