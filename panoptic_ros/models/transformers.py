"""Query-based checkpoints of the transformers library as one graph.

Mask2Former, MaskFormer, OneFormer and EoMT all give a class and a mask for each of Q queries;
what makes a panoptic image of them is the library's own `post_process_panoptic_segmentation`
(its `compute_segments`), written here as tensor code with fixed shapes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from panoptic_ros.bundle import Threshold
from panoptic_ros.labels import LabelSet
from panoptic_ros.models.base import IMAGENET_MEAN, IMAGENET_STD, PanopticModel, SegmentTensors
from panoptic_ros.models.segments import measure, to_segments

ARCHITECTURES = {
    'mask2former': 'Mask2FormerForUniversalSegmentation',
    'maskformer': 'MaskFormerForInstanceSegmentation',
    'oneformer': 'OneFormerForUniversalSegmentation',
    'eomt': 'EomtForUniversalSegmentation',
    'eomt_dinov3': 'EomtDinov3ForUniversalSegmentation',
}
"""Class of the transformers library by `model_type`."""


@dataclass(frozen=True)
class TransformersConfig:
    """Which network, and how its queries become segments; lengths in network-input pixels."""

    checkpoint: str
    """The checkpoint's config.json as text."""

    task_tokens: tuple[int, ...] = ()
    """OneFormer's tokens of `the task is panoptic`; empty for the others."""

    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    stride: int = 4
    """Input pixels per cell of the decoded maps: 1, 2 or 4; masks come at 4."""

    score_threshold: float = 0.5
    """Least class probability of a query; the library's default, 0.8 for EoMT."""

    mask_threshold: float = 0.5
    """From which probability on a pixel belongs to a query's own mask."""

    overlap_threshold: float = 0.8
    """Share of its own mask that a query must win to become a segment."""

    min_area: float = 0.0
    """Least area of an instance, px."""

    min_stuff_area: float = 0.0
    """Least area of a stuff segment, px."""

    def __post_init__(self) -> None:
        if self.stride not in (1, 2, 4):
            raise ValueError(f'transformers.stride must be 1, 2 or 4, got {self.stride!r}')
        for name in ('score_threshold', 'mask_threshold', 'overlap_threshold'):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f'transformers.{name} must lie in 0 to 1, '
                                 f'got {getattr(self, name)}')
        if self.architecture not in ARCHITECTURES:
            raise ValueError(f'a checkpoint must be one of {", ".join(ARCHITECTURES)}, '
                             f'got {self.architecture!r}')

    @property
    def architecture(self) -> str:
        """The checkpoint's `model_type`."""
        return str(json.loads(self.checkpoint).get('model_type'))


class QueryMaps(NamedTuple):
    """What the network says of its Q queries."""

    class_logits: Tensor
    """(B, Q, C + 1); the last is `nothing`."""

    mask_logits: Tensor
    """(B, Q, h, w)"""

    embedding: Tensor
    """(B, Q, D) of the last decoder layer."""


class TransformersPanoptic(PanopticModel):
    """Mask2Former, MaskFormer, OneFormer and EoMT checkpoints (no training here)."""

    family = 'transformers'
    embedding_kind = 'query of the last decoder layer'
    heads = ()

    network: Any
    task: Tensor

    def __init__(self, labels: LabelSet, config: TransformersConfig) -> None:
        super().__init__(labels, config)
        import transformers

        # Its checks of shapes while it runs become operators that ONNX does not have.
        os.environ.setdefault('TRANSFORMERS_DISABLE_TORCH_CHECK', '1')
        name = ARCHITECTURES[config.architecture]
        values = json.loads(config.checkpoint)
        settings = transformers.AutoConfig.for_model(values.pop('model_type'), **values)
        # The attention kernels of the other implementations do not export for Swin.
        self.network = getattr(transformers, name)._from_config(
            settings, attn_implementation='eager')
        if self.network.config.num_labels != len(labels):
            raise ValueError(f'the checkpoint has {self.network.config.num_labels} classes, '
                             f'got {len(labels)} labels')
        if hasattr(self.network, 'criterion'):
            self.network.criterion = None  # its weights of classes are no part of the network
        if hasattr(self.network, 'attn_mask_probs'):
            # EoMT masks attention with this probability while it learns, at last with none; a
            # buffer here would be a branch on data.
            del self.network.attn_mask_probs
            self.network.attn_mask_probs = [0.0] * self.network.config.num_blocks
        if config.architecture == 'oneformer' and not config.task_tokens:
            raise ValueError('oneformer needs task_tokens, the tokens of `the task is panoptic`')
        self.register_buffer('task', torch.tensor([config.task_tokens], dtype=torch.long),
                             persistent=False)

    @property
    def thresholds(self) -> Mapping[str, Threshold]:
        """See `PanopticModel.thresholds`."""
        config, size = self.config, 1e7
        return {
            'score_threshold': Threshold(config.score_threshold, 0, 1,
                                         'least class probability of a query'),
            'mask_threshold': Threshold(config.mask_threshold, 0, 1,
                                        'from which probability a pixel is a query\'s own'),
            'overlap_threshold': Threshold(config.overlap_threshold, 0, 1,
                                           'share of its own mask that a query must win'),
            'min_area': Threshold(config.min_area, 0, size, 'least area of an instance, px'),
            'min_stuff_area': Threshold(config.min_stuff_area, 0, size,
                                        'least area of a stuff segment, px')}

    @property
    def embedding_dim(self) -> int:
        """See `PanopticModel.embedding_dim`."""
        settings = self.network.config
        if self.config.architecture == 'maskformer':
            return int(settings.decoder_config.hidden_size)
        return int(settings.hidden_dim if hasattr(settings, 'hidden_dim')
                   else settings.hidden_size)

    def maps(self, image: Tensor) -> QueryMaps:
        """Classes, masks and embeddings of the queries; see `PanopticModel.maps`."""
        pixels = self.normalize(image)
        architecture = self.config.architecture
        task = {'task_inputs': self.task.expand(len(pixels), -1)} if self.task.numel() else {}
        out = self.network(pixels, **task)
        if architecture == 'oneformer':
            query = out.transformer_decoder_object_queries
        elif architecture.startswith('eomt'):
            query = out.last_hidden_state[:, :out.class_queries_logits.shape[1]]
        else:
            query = out.transformer_decoder_last_hidden_state
        return QueryMaps(out.class_queries_logits, out.masks_queries_logits, query)

    def forward(self, image: Tensor, **thresholds: Tensor) -> SegmentTensors:
        """Segments of one image (H, W, 3) uint8; see `PanopticModel.forward`."""
        maps = self.maps(image.permute(2, 0, 1)[None])
        size = [n // self.config.stride for n in image.shape[:2]]
        masks = F.interpolate(maps.mask_logits, size=size, mode='bilinear')
        return self.decode(maps._replace(mask_logits=masks), **thresholds)

    def decode(self, maps: QueryMaps, **thresholds: Tensor) -> SegmentTensors:
        """Queries of one image to segments: row k is query k, then one row per stuff class."""
        return decode(maps.class_logits[0], maps.mask_logits[0],
                      F.normalize(maps.embedding[0], dim=1), self.is_thing, self.config.stride,
                      not self.config.architecture.startswith('eomt'), thresholds)


def decode(class_logits: Tensor, mask_logits: Tensor, embedding: Tensor, is_thing: Tensor,
           stride: int, weigh_own_mask: bool, thresholds: Mapping[str, Tensor]) -> SegmentTensors:
    """The library's `compute_segments`; queries of one stuff class become one segment.

    Args:
        class_logits: (Q, C + 1), the last is `nothing`.
        mask_logits: (Q, h, w).
        embedding: (Q, D).
        is_thing: (C,) bool.
        stride: input pixels per cell.
        weigh_own_mask: a query's own mask is where its mask probability times its class
            probability reaches the threshold. Without (EoMT), the mask probability alone, and
            what it wins outside of it is void.
        thresholds: scalars by name.
    """
    queries, height, width = mask_logits.shape
    num_classes = is_thing.shape[0]
    score, label = class_logits.softmax(dim=-1).max(dim=-1)  # (Q,)
    candidate = (label != num_classes) & (score > thresholds['score_threshold'])
    prob = mask_logits.sigmoid().flatten(1)  # (Q, N)
    weighted = prob * score[:, None]
    # Queries last: engines find a maximum's place much faster where its axis is dense.
    best, winner = torch.where(candidate[:, None], weighted, -1.0).T.max(dim=1)  # (N,)
    winner = torch.where(best >= 0, winner, queries)

    own = (weighted if weigh_own_mask else prob) >= thresholds['mask_threshold']
    number = torch.arange(queries, device=score.device)
    won = (winner[None] == number[:, None]).to(torch.float32).sum(dim=1)  # (Q,)
    own_area = own.to(torch.float32).sum(dim=1)
    exists = candidate & (won > 0) & (own_area > 0) & (
        won > thresholds['overlap_threshold'] * own_area)
    class_of_query = label.clamp(max=num_classes - 1)
    thing = is_thing.index_select(0, class_of_query)
    row_of_query = torch.where(exists, torch.where(thing, number, queries + class_of_query) + 1, 0)
    row = F.pad(row_of_query, (0, 1)).index_select(0, winner)
    if not weigh_own_mask:  # there, a query keeps only what lies in its own mask
        inside = prob.gather(0, winner.clamp(max=queries - 1)[None])[0]
        row = torch.where(inside >= thresholds['mask_threshold'], row, 0)
    row_map = row.view(height, width).to(torch.int32)

    # A stuff class has the score and the embedding of its first query.
    classes = torch.arange(num_classes, device=score.device)
    of_class = exists[:, None] & (class_of_query[:, None] == classes)  # (Q, C)
    first = torch.where(of_class, number[:, None], queries - 1).amin(dim=0)  # (C,)
    source = torch.cat([number, first])
    measures = measure(row_map, queries + num_classes, best.view(height, width))
    px = measures.area * stride ** 2
    valid = (measures.area > 0) & torch.cat([
        px[:queries] >= thresholds['min_area'], px[queries:] >= thresholds['min_stuff_area']])
    return to_segments(
        row_map, measures, valid=valid, class_id=torch.cat([class_of_query, classes]),
        score=score.index_select(0, source), embedding=embedding.index_select(0, source))
