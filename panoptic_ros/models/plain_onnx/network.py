# SPDX-License-Identifier: Apache-2.0
"""Decoding of the outputs of networks that come as ONNX files.

The networks are graphs, not modules: only the decoding is here, and it is exported and joined with
them by `panoptic_training.plain_onnx`.
"""

import torch
from torch import Tensor

from panoptic_ros.core.labels import LabelSet
from panoptic_ros.models.base import PanopticModel, SegmentTensors
from panoptic_ros.models.config import MAP_STRIDE
from panoptic_ros.models.huggingface.network import mask_probabilities
from panoptic_ros.models.panoptic_fpn.decode import merge
from panoptic_ros.models.parts.components import EMBEDDING_KIND, SIDE, decode_classes
from panoptic_ros.models.parts.queries.decode import decode as decode_queries
from panoptic_ros.models.plain_onnx.config import PlainOnnxConfig, PlainQueriesConfig
from panoptic_ros.models.plain_onnx.instances import mask_logits, read_candidates, select
from panoptic_ros.models.plain_onnx.semantic import read_cells


class OnnxDecoder(PanopticModel):
    """Base class of decoders, whose `maps` are the networks' outputs."""

    embedding_kind = 'none'
    embedding_dim = 0
    heads = ()

    def forward(self, *maps: Tensor, **thresholds: Tensor) -> SegmentTensors:
        """Compute the segments of one image from the networks' outputs."""
        return self.decode(maps, **thresholds)

    def cells(self, stride: int) -> tuple[int, int]:
        """Return the (height, width) of a map with a stride."""
        height, width = self.config.input_size
        return height // stride, width // stride


class PlainOnnx(OnnxDecoder):
    """Plain ONNX networks of instances, of a semantic map, or of both merged by score."""

    family = 'onnx'

    instance_class: Tensor
    semantic_class: Tensor

    def __init__(self, labels: LabelSet, config: PlainOnnxConfig) -> None:
        self.config: PlainOnnxConfig
        super().__init__(labels, config)
        for name in ('instance_class', 'semantic_class'):
            value = torch.tensor(getattr(config, name), dtype=torch.int64)
            self.register_buffer(name, value, persistent=False)
        if not config.instances and labels.is_thing.any():
            self.embedding_kind = EMBEDDING_KIND

    def decode(self, maps: tuple[Tensor, ...], **thresholds: Tensor) -> SegmentTensors:
        """Decode the outputs of the instances' network, and then those of the semantic one."""
        config = self.config
        if not config.instances:
            return self._classes(maps[0], **thresholds)
        candidates = read_candidates(
            config.instances, maps, len(config.instance_class), config.input_size
        )
        found, masks = select(
            candidates, self.instance_class, config.candidates, config.top_k, thresholds
        )
        cut = candidates.coefficients is not None
        size = self.cells(config.stride)
        logits = mask_logits(found, masks, config.stride, size, cut)
        coarse = (
            logits
            if config.stride == MAP_STRIDE
            else mask_logits(found, masks, MAP_STRIDE, self.cells(MAP_STRIDE), cut)
        )
        if config.semantic:
            cell_class, cell_prob = read_cells(
                config.semantic, maps[-1], self.semantic_class, size, config.channels_last
            )
            kind = self.is_thing.index_select(0, cell_class.flatten().clamp(min=0))
            is_stuff = (cell_class >= 0) & ~kind.view(size)
        else:
            cell_class = torch.zeros(size, dtype=torch.int64, device=masks.device)
            cell_prob, is_stuff = masks.new_zeros(size), cell_class > 0
        return merge(
            found,
            coarse > 0,
            logits,
            cell_class,
            cell_prob,
            is_stuff,
            torch.arange(len(self.labels), device=masks.device),
            self.is_thing,
            config.stride,
            thresholds,
        )

    def _classes(self, output: Tensor, **thresholds: Tensor) -> SegmentTensors:
        """Decode a semantic map; see `decode_classes`."""
        config = self.config
        class_id, prob = read_cells(
            config.semantic,
            output,
            self.semantic_class,
            self.cells(config.stride),
            config.channels_last,
        )
        known = (class_id >= 0) & (prob >= thresholds['score_threshold'])
        return decode_classes(
            torch.where(known, class_id, len(self.labels)),
            prob,
            self.is_thing,
            bool(self.labels.is_thing.any()),
            config.stride,
            # Cells have reached the threshold; a mean of them might be rounded below it.
            {**thresholds, 'score_threshold': torch.zeros_like(prob[0, 0])},
            min(config.top_k, SIDE**2 - 1),
        )


class PlainQueries(OnnxDecoder):
    """Plain ONNX networks of queries, each with a class and a mask (DETR, MaskFormer)."""

    family = 'onnx_queries'

    def __init__(self, labels: LabelSet, config: PlainQueriesConfig) -> None:
        self.config: PlainQueriesConfig
        super().__init__(labels, config)

    def decode(self, maps: tuple[Tensor, ...], **thresholds: Tensor) -> SegmentTensors:
        """Decode class logits (1, Q, C + 1) and mask logits (1, Q, h, w); see `parts/queries`."""
        class_logits, masks = maps
        prob = mask_probabilities('maskformer', masks, self.config.input_size, self.config.stride)
        return decode_queries(
            class_logits[0],
            prob[0],
            class_logits.new_zeros(class_logits.shape[1], 0),
            self.is_thing,
            self.config.stride,
            True,
            thresholds,
        )
