# SPDX-License-Identifier: Apache-2.0
"""Network of CIAE: FCOS proposes instances, a branch predicts category-aware embeddings.

Gao et al., Learning Category- and Instance-Aware Pixel Embedding for Fast Panoptic Segmentation,
2020. What the paper leaves open is marked "inferred" and is a configuration key.
"""

from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from panoptic_ros.core.labels import LabelSet
from panoptic_ros.models.base import PanopticModel, SegmentTensors
from panoptic_ros.models.ciae import decode as ciae_decode
from panoptic_ros.models.ciae.config import CIAEConfig
from panoptic_ros.models.config import MAP_STRIDE
from panoptic_ros.models.parts.fcos import STRIDES, FCOSHead, FCOSMaps, init_convolutions
from panoptic_ros.models.parts.fpn import FPN, SemanticFPN
from panoptic_ros.models.parts.layers import upsample


class CIAEMaps(NamedTuple):
    """Dense predictions: of the embedding branch at one stride, of the detector by level."""

    embedding: Tensor
    """P before normalisation, (B, D, h, w)."""

    semantic_logits: Tensor | None
    """Stuff classes and, last, things, (B, C_st + 1, h, w), with `stuff_branch` only."""

    detections: FCOSMaps


class CIAE(PanopticModel):
    """FCOS with a category- and instance-aware pixel embedding.

    The buffer `memory` (M, D) holds unit rows: one for each stuff class, then one for all things
    or one for each thing class. The loss updates it without gradients.
    """

    family = 'ciae'
    embedding_kind = 'embedding at the location that proposed the instance'
    heads: ClassVar[tuple[str, ...]] = (
        'embed',
        'detector.class_logits',
        'detector.box',
        'detector.centerness',
    )

    memory: Tensor
    memory_of_class: Tensor
    channel_of_class: Tensor
    stuff_ids: Tensor
    thing_ids: Tensor
    progress: Tensor

    def __init__(self, labels: LabelSet, config: CIAEConfig) -> None:
        super().__init__(labels, config)
        self.config: CIAEConfig
        is_thing = torch.from_numpy(labels.is_thing)
        things, stuff = int(is_thing.sum()), int((~is_thing).sum())
        if not things or not stuff:
            raise ValueError(
                f'ciae needs stuff and thing classes, got {stuff} stuff and {things} thing classes'
            )
        dim, kernel = config.embedding_dim, config.embedding_kernel
        self.network = FPN(
            config.backbone,
            config.channels,
            'p6p7',
            frozen_stem=config.frozen_stem,
            frozen_batch_norm=config.frozen_batch_norm,
        )
        self.branch = SemanticFPN(config.channels, config.branch_channels, config.coord_conv)
        self.detector = FCOSHead(
            config.channels,
            config.tower_depth,
            things if config.detector_classes == 'all' else 1,
            dim if config.box_embedding else 0,
        )
        # P' + P'': one convolution of both inputs side by side is the sum of one of each.
        inputs = config.branch_channels + (dim if config.box_embedding else 0)
        self.embed = nn.Conv2d(inputs, dim, kernel, padding=kernel // 2)
        self.semantic = (
            nn.Conv2d(config.branch_channels, stuff + 1, 1) if config.stuff_branch else None
        )
        for part in (self.branch, self.embed, self.semantic):
            if part is not None:
                init_convolutions(part)
        if config.stuff_branch:
            self.heads = (*CIAE.heads, 'semantic')  # type: ignore[misc]

        thing_number = is_thing.cumsum(0) - 1
        memories = stuff + (things if config.thing_memory == 'classes' else 1)
        self.num_stuff = stuff
        self.register_buffer('memory', F.normalize(torch.randn(memories, dim), dim=1))
        for name, value in (
            (
                'memory_of_class',
                torch.where(
                    is_thing,
                    stuff + thing_number * (config.thing_memory == 'classes'),
                    (~is_thing).cumsum(0) - 1,
                ),
            ),
            (
                'channel_of_class',
                torch.where(is_thing, thing_number * (config.detector_classes == 'all'), -1),
            ),
            ('stuff_ids', torch.nonzero(~is_thing)[:, 0]),
            ('thing_ids', torch.nonzero(is_thing)[:, 0]),
            ('progress', torch.zeros(())),
        ):
            self.register_buffer(name, value, persistent=False)

    def on_step(self, progress: float) -> None:
        """Store the progress, which the memory's momentum follows."""
        self.progress.fill_(progress)

    def renormalize(self) -> None:
        """Project the memory onto the unit sphere; averaged weights may have left it."""
        with torch.no_grad():
            self.memory.copy_(F.normalize(self.memory, dim=1))

    def maps(self, image: Tensor, stride: int = MAP_STRIDE) -> CIAEMaps:
        """Compute the dense predictions.

        Args:
            image: RGB, 0 to 255, (B, 3, H, W); H and W multiples of 32.
            stride: input pixels per cell of the embedding map, which is upsampled bilinearly.
        """
        levels = self.network(self.normalize(image))
        detections = self.detector(levels[1:])
        features = self.branch(levels)
        inputs = features
        if detections.embedding:
            height, width = features.shape[2:]
            # Upsampled by each level's factor, then cropped: last cells may exceed the image.
            inputs = torch.cat(
                [
                    features,
                    torch.stack(
                        [
                            F.interpolate(x, scale_factor=float(s // MAP_STRIDE), mode='bilinear')[
                                :, :, :height, :width
                            ]
                            for x, s in zip(detections.embedding, STRIDES, strict=True)
                        ]
                    ).sum(dim=0),
                ],
                dim=1,
            )
        semantic = None if self.semantic is None else upsample(self.semantic(features), stride)
        return CIAEMaps(upsample(self.embed(inputs), stride), semantic, detections)

    def maps_to_decode(self, batch: Tensor) -> CIAEMaps:
        """See `PanopticModel.maps_to_decode`."""
        return self.maps(batch, self.config.stride)

    def decode(self, maps: CIAEMaps, **thresholds: Tensor) -> SegmentTensors:
        """Decode maps (B = 1) at stride `config.stride`; see `ciae/decode.py`."""
        embedding = F.normalize(maps.embedding[0], dim=0)
        proposals = ciae_decode.propose(
            maps.detections, embedding, self.thing_ids, self.config, thresholds
        )
        return self.segment(embedding, maps.semantic_logits, proposals, thresholds)

    def segment(
        self,
        embedding: Tensor,
        semantic_logits: Tensor | None,
        proposals: ciae_decode.Proposals,
        thresholds: dict[str, Tensor],
    ) -> SegmentTensors:
        """Assign cells to proposals and stuff classes, the second half of decoding.

        Args:
            embedding: unit length over D, (D, h, w).
            semantic_logits: logits of one image, B = 1, or None.
            proposals: instances with their queries and boxes.
            thresholds: scalars by name.
        """
        memory = F.normalize(self.memory, dim=1)  # averaged weights are not unit vectors
        if self.config.class_from == 'embedding':
            number = (proposals.query @ memory[self.num_stuff :].T).argmax(dim=1)
            proposals = proposals._replace(class_id=self.thing_ids.index_select(0, number))
        queries = ciae_decode.Queries(memory, self.memory_of_class, self.stuff_ids, self.is_thing)
        return ciae_decode.segment(
            embedding,
            None if semantic_logits is None else semantic_logits[0],
            proposals,
            queries,
            self.config,
            thresholds,
        )
