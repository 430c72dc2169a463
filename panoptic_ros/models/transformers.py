"""Query-based checkpoints of the transformers library as one graph.

Mask2Former, MaskFormer, OneFormer and EoMT all give a class and a mask for each of Q queries; see
`query_decode` for what makes a panoptic image of them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from panoptic_ros.bundle import Threshold
from panoptic_ros.labels import LabelSet
from panoptic_ros.models.base import PanopticModel, SegmentTensors
from panoptic_ros.models.query_decode import QueryDecodeConfig, QueryMaps, decode, thresholds_of

ARCHITECTURES = {
    'mask2former': 'Mask2FormerForUniversalSegmentation',
    'maskformer': 'MaskFormerForInstanceSegmentation',
    'oneformer': 'OneFormerForUniversalSegmentation',
    'eomt': 'EomtForUniversalSegmentation',
    'eomt_dinov3': 'EomtDinov3ForUniversalSegmentation',
}
"""Class of the transformers library by `model_type`."""


@dataclass(frozen=True)
class TransformersConfig(QueryDecodeConfig):
    """Which network, and how its queries become segments; lengths in network-input pixels."""

    checkpoint: str = field(kw_only=True)
    """The checkpoint's config.json as text."""

    task_tokens: tuple[int, ...] = ()
    """OneFormer's tokens of `the task is panoptic`; empty for the others."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.architecture not in ARCHITECTURES:
            raise ValueError(f'a checkpoint must be one of {", ".join(ARCHITECTURES)}, '
                             f'got {self.architecture!r}')

    @property
    def architecture(self) -> str:
        """The checkpoint's `model_type`."""
        return str(json.loads(self.checkpoint).get('model_type'))


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
        return thresholds_of(self.config)

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
