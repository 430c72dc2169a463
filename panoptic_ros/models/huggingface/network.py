# SPDX-License-Identifier: Apache-2.0
"""Query-based checkpoints of the transformers library as one graph.

Mask2Former, MaskFormer, OneFormer and EoMT all predict a class and a mask for each of Q queries;
`models/parts/queries/decode.py` turns them into a panoptic image.
"""

import os
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from panoptic_ros.core.labels import LabelSet
from panoptic_ros.models.base import PanopticModel, SegmentTensors
from panoptic_ros.models.huggingface.config import (
    ARCHITECTURES,
    MASK2FORMER_SIZE,
    HuggingFaceConfig,
)
from panoptic_ros.models.parts.queries.decode import decode


class HuggingFaceMaps(NamedTuple):
    """Predictions of the network for its Q queries, and the image's size."""

    class_logits: Tensor
    """(B, Q, C + 1); the last class is `nothing`."""

    mask_logits: Tensor
    """(B, Q, h, w)"""

    embedding: Tensor
    """(B, Q, D) of the last decoder layer."""

    image_size: tuple[int, int]
    """(H, W) of the image, px."""


def mask_probabilities(
    architecture: str, mask_logits: Tensor, image_size: Sequence[int], stride: int
) -> Tensor:
    """Scale masks to the decoding's stride, as the library does for `target_sizes` (H/s, W/s).

    MaskFormer and OneFormer scale probabilities. Mask2Former scales logits to 384 x 384, whatever
    the image's shape, and then their probabilities to the target. EoMT scales logits to the image
    and then to the target. OneFormer's antialiasing is omitted: it has no effect unless masks
    shrink, and masks are predicted at stride 4.

    Args:
        architecture: one of `ARCHITECTURES`.
        mask_logits: (B, Q, h, w).
        image_size: (H, W) of the image, px.
        stride: input pixels per cell.

    Returns:
        (B, Q, H // stride, W // stride) in 0 to 1.
    """
    size = [n // stride for n in image_size]
    if architecture.startswith('eomt'):
        return resize(resize(mask_logits, image_size), size).sigmoid()
    if architecture == 'mask2former':
        mask_logits = resize(mask_logits, MASK2FORMER_SIZE)
    return resize(mask_logits.sigmoid(), size)


def height_width(size: int | Sequence[int]) -> tuple[int, int]:
    """Return (height, width) of a size that may be one number for both."""
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))


def resize(values: Tensor, size: Sequence[int]) -> Tensor:
    """Scale (B, Q, h, w) bilinearly to a (height, width)."""
    if tuple(values.shape[2:]) == tuple(size):  # adds no operator to the graph
        return values
    return F.interpolate(values, size=list(size), mode='bilinear')


class _ClearByMask(TorchFunctionMode):
    """Computes `values[torch.where(rows)] = False`, which OneFormer writes, without indices.

    The indices would be a NonZero in the graph, whose result has a size that depends on the data,
    and which TensorRT-RTX does not accept.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.where and len(args) == 1:
            return args[0]
        if func is Tensor.__setitem__ and isinstance(args[1], Tensor) and args[2] is False:
            values, rows, _ = args
            return values.logical_and_(~rows[..., None])
        return func(*args, **(kwargs or {}))


class HuggingFace(PanopticModel):
    """Mask2Former, MaskFormer, OneFormer and EoMT checkpoints (no training here)."""

    family = 'huggingface'
    embedding_kind = 'query of the last decoder layer'
    heads = ()

    network: Any
    task: Tensor

    def __init__(self, labels: LabelSet, config: HuggingFaceConfig) -> None:
        super().__init__(labels, config)
        import transformers

        # The library's shape checks would be exported as operators that ONNX lacks.
        os.environ.setdefault('TRANSFORMERS_DISABLE_TORCH_CHECK', '1')
        name = ARCHITECTURES[config.architecture]
        values = config.settings
        settings = transformers.AutoConfig.for_model(values.pop('model_type'), **values)
        # The kernels of other attention implementations do not export for Swin.
        self.network = getattr(transformers, name)._from_config(
            settings, attn_implementation='eager', dtype=torch.float32
        )
        if self.network.config.num_labels != len(labels):
            raise ValueError(
                f'the checkpoint has {self.network.config.num_labels} classes, '
                f'got {len(labels)} labels'
            )
        if hasattr(self.network, 'criterion'):
            self.network.criterion = None  # its class weights are not part of the network
        if hasattr(self.network, 'attn_mask_probs'):
            # EoMT masks attention with these probabilities, which training reduces to 0; as a
            # buffer, they would make the graph branch on data.
            del self.network.attn_mask_probs
            self.network.attn_mask_probs = [0.0] * self.network.config.num_blocks
        if config.architecture == 'oneformer' and not config.task_tokens:
            raise ValueError('oneformer needs task_tokens, the tokens of `the task is panoptic`')
        self.register_buffer(
            'task', torch.tensor([config.task_tokens], dtype=torch.long), persistent=False
        )

    @property
    def embedding_dim(self) -> int:
        """D, the length of a query of the last decoder layer."""
        settings = self.network.config
        if self.config.architecture == 'maskformer':
            return int(settings.decoder_config.hidden_size)
        return int(
            settings.hidden_dim if hasattr(settings, 'hidden_dim') else settings.hidden_size
        )

    def check_input_size(self, size: tuple[int, int]) -> None:
        """Refuse an input size that the network cannot run at.

        Args:
            size: (height, width) of the input, px.

        Raises:
            ValueError: if an EoMT checkpoint has another size. Its position embeddings and its
                masks' grid are valid for that size only, even if another shape has the same
                number of patches.
        """
        if not self.config.architecture.startswith('eomt'):
            return
        own = height_width(self.network.config.image_size)
        if tuple(size) != own:
            raise ValueError(
                f'this {self.config.architecture} checkpoint takes input of '
                f'{own[0]}x{own[1]} px only, got {size[0]}x{size[1]}; leave out '
                '--input-size or take a checkpoint of that size'
            )

    def maps(self, image: Tensor) -> HuggingFaceMaps:
        """Compute classes, masks and embeddings of the queries; see `PanopticModel.maps`.

        Raises:
            ValueError: see `check_input_size`.
        """
        size = (image.shape[2], image.shape[3])
        self.check_input_size(size)
        pixels = self.normalize(image)
        architecture = self.config.architecture
        task = {'task_inputs': self.task.expand(len(pixels), -1)} if self.task.numel() else {}
        with _ClearByMask() if architecture == 'oneformer' else nullcontext():
            out = self.network(pixels, **task)
        if architecture == 'oneformer':
            query = out.transformer_decoder_object_queries
        elif architecture.startswith('eomt'):
            query = out.last_hidden_state[:, : out.class_queries_logits.shape[1]]
        else:
            query = out.transformer_decoder_last_hidden_state
        return HuggingFaceMaps(out.class_queries_logits, out.masks_queries_logits, query, size)

    def decode(self, maps: HuggingFaceMaps, **thresholds: Tensor) -> SegmentTensors:
        """Decode the queries of one image: row k is query k, then one row per class of stuff."""
        architecture, stride = self.config.architecture, self.config.stride
        prob = mask_probabilities(architecture, maps.mask_logits, maps.image_size, stride)
        return decode(
            maps.class_logits[0],
            prob[0],
            F.normalize(maps.embedding[0], dim=1),
            self.is_thing,
            stride,
            not architecture.startswith('eomt'),
            thresholds,
        )
