# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of the transformers library as one graph, decoding included.

`config.ARCHITECTURES` says for each architecture what its outputs are. Decoding is in
`models/parts/queries/` for those that predict a class and a mask for each of Q queries, and in
`models/parts/components.py` for those that predict a class for each pixel.
"""

import os
from collections.abc import Sequence
from contextlib import nullcontext
from operator import attrgetter
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from panoptic_ros.core.labels import LabelSet
from panoptic_ros.core.text import one_line
from panoptic_ros.models.base import PanopticModel, SegmentTensors
from panoptic_ros.models.huggingface.config import ARCHITECTURES, HuggingFaceConfig
from panoptic_ros.models.parts.components import EMBEDDING_KIND, decode_classes
from panoptic_ros.models.parts.queries.decode import decode
from panoptic_ros.models.parts.queries.instances import decode_instances


class HuggingFaceMaps(NamedTuple):
    """Predictions of the network for its Q queries, and the image's size."""

    class_logits: Tensor
    """(B, Q, L)"""

    mask_logits: Tensor
    """(B, Q, h, w)"""

    embedding: Tensor
    """(B, Q, D) of the last decoder layer."""

    image_size: tuple[int, int]
    """(H, W) of the image, px."""


class ClassMaps(NamedTuple):
    """Predictions of a network without queries, and the image's size."""

    class_logits: Tensor
    """(B, L, h, w)"""

    image_size: tuple[int, int]
    """(H, W) of the image, px."""


def mask_probabilities(
    architecture: str, mask_logits: Tensor, image_size: Sequence[int], stride: int
) -> Tensor:
    """Scale masks to the decoding's stride, as the library does for `target_sizes` (H/s, W/s).

    The library scales logits or probabilities, see `Architecture.logits_to`. OneFormer's
    antialiasing is omitted: it has no effect unless masks shrink, and masks are predicted at
    stride 4.

    Args:
        architecture: one of `ARCHITECTURES`.
        mask_logits: (B, Q, h, w).
        image_size: (H, W) of the image, px.
        stride: input pixels per cell.

    Returns:
        (B, Q, H // stride, W // stride) in 0 to 1.
    """
    cells = [n // stride for n in image_size]
    for size in ARCHITECTURES[architecture].logits_to:
        named = {'image': image_size, 'cells': cells}
        mask_logits = resize(mask_logits, named[size] if isinstance(size, str) else size)
    return resize(mask_logits.sigmoid(), cells)


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
    """Checkpoint of the transformers library (no training here)."""

    family = 'huggingface'
    embedding_kind = 'query of the last decoder layer'
    heads = ()

    training_only = ('network.',)
    """Boxes, auxiliary heads and the like; what a graph lacks depends on the checkpoint."""

    config: HuggingFaceConfig
    network: Any
    task: Tensor
    class_of_logit: Tensor

    def __init__(self, labels: LabelSet, config: HuggingFaceConfig) -> None:
        super().__init__(labels, config)
        import transformers

        # The library's shape checks would be exported as operators that ONNX lacks.
        os.environ.setdefault('TRANSFORMERS_DISABLE_TORCH_CHECK', '1')
        architecture = self.architecture = config.architecture
        values = config.settings
        self.model_type = values.pop('model_type')
        settings = transformers.AutoConfig.for_model(self.model_type, **values)
        # The kernels of other attention implementations do not export for Swin.
        self.network = getattr(transformers, architecture.network)._from_config(
            settings, attn_implementation='eager', dtype=torch.float32
        )
        if hasattr(self.network, 'criterion'):
            self.network.criterion = None  # its class weights are not part of the network
        if hasattr(self.network, 'attn_mask_probs'):
            # EoMT masks attention with these probabilities, which training reduces to 0; as a
            # buffer, they would make the graph branch on data.
            del self.network.attn_mask_probs
            self.network.attn_mask_probs = [0.0] * self.network.config.num_blocks
        if architecture.decoding == 'classes':
            self.embedding_kind = EMBEDDING_KIND
        if architecture.prompt and not config.task_tokens:
            raise ValueError(
                f'{self.model_type} needs task_tokens, the tokens of `{architecture.prompt}`'
            )
        self.register_buffer(
            'task', torch.tensor([config.task_tokens], dtype=torch.long), persistent=False
        )
        self.register_buffer('class_of_logit', self._class_of_logit(), persistent=False)

    def _class_of_logit(self) -> Tensor:
        """Return the class of each of the L logits, C for none.

        Raises:
            ValueError: if the labels are not the classes of the checkpoint.
        """
        architecture, count = self.architecture, self.network.config.num_labels
        named = count - architecture.last_is_nothing
        ids = self.config.class_ids or tuple(range(named))
        if len(ids) != len(self.labels) or not all(0 <= i < named for i in ids):
            raise ValueError(
                f'the checkpoint has {named} classes, got {len(self.labels)} labels'
                + (f' for {len(ids)} class_ids up to {max(ids)}' if self.config.class_ids else '')
            )
        logits = named + (architecture.decoding == 'queries')
        table = torch.full((logits,), len(ids))
        table[list(ids)] = torch.arange(len(ids))
        return table

    @property
    def embedding_dim(self) -> int:
        """D, the length of a query of the last decoder layer; 0 without queries."""
        if self.architecture.decoding == 'classes':
            return 0
        return int(attrgetter(self.architecture.width)(self.network.config))

    def check_input_size(self, size: tuple[int, int]) -> None:
        """Refuse an input size that the network cannot run at.

        Args:
            size: (height, width) of the input, px.

        Raises:
            ValueError: if the network runs at the size of its training only, and this is another.
                Position embeddings are valid for that size only, even if another shape has the
                same number of patches.
        """
        if not self.architecture.own_size:
            return
        own = height_width(attrgetter(self.architecture.own_size)(self.network.config))
        if tuple(size) != own:
            raise ValueError(
                f'this {self.model_type} checkpoint takes input of '
                f'{own[0]}x{own[1]} px only, got {size[0]}x{size[1]}; leave out '
                '--input-size or take a checkpoint of that size'
            )

    def maps(self, image: Tensor) -> HuggingFaceMaps | ClassMaps:
        """Compute the outputs of the network; see `PanopticModel.maps`.

        Raises:
            ValueError: see `check_input_size`; also if the library refuses the size.
        """
        size = (image.shape[2], image.shape[3])
        self.check_input_size(size)
        architecture = self.architecture
        pixels = self.normalize(image)
        if self.config.flip_channels:
            pixels = pixels.flip(1)
        task = {'task_inputs': self.task.expand(len(pixels), -1)} if architecture.prompt else {}
        try:
            with _ClearByMask() if architecture.prompt else nullcontext():
                out = self.network(pixels[:, None] if architecture.is_video else pixels, **task)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, ValueError, AssertionError) as error:
            raise ValueError(
                f'this {self.model_type} checkpoint cannot run at {size[0]}x{size[1]} px '
                f'({one_line(error)}); take the size of its training or a larger one'
            ) from None
        class_logits = getattr(out, architecture.class_logits)
        if architecture.decoding == 'classes':
            return ClassMaps(class_logits, size)
        queries = getattr(out, architecture.embedding)[:, : class_logits.shape[1]]
        return HuggingFaceMaps(class_logits, getattr(out, architecture.mask_logits), queries, size)

    def decode(self, maps: HuggingFaceMaps | ClassMaps, **thresholds: Tensor) -> SegmentTensors:
        """Decode the outputs for one image.

        Row k is query k, then there is one row per class of stuff; or see `decode_instances` and
        `decode_classes`.
        """
        stride = self.config.stride
        if isinstance(maps, ClassMaps):
            logits = resize(maps.class_logits, [n // stride for n in maps.image_size])[0]
            best, label = logits.max(dim=0)
            return decode_classes(
                self.class_of_logit.index_select(0, label.flatten()).view_as(label),
                1 / (logits - best).exp().sum(dim=0),
                self.is_thing,
                bool(self.labels.is_thing.any()),
                stride,
                thresholds,
            )

        def prob(masks: Tensor) -> Tensor:
            return mask_probabilities(self.model_type, masks, maps.image_size, stride)[0]

        embedding = F.normalize(maps.embedding[0], dim=1)
        if self.architecture.decoding == 'instances':
            return decode_instances(
                maps.class_logits[0],
                lambda query: prob(maps.mask_logits.index_select(1, query)),
                embedding,
                self.class_of_logit,
                len(self.labels),
                stride,
                thresholds,
            )
        return decode(
            maps.class_logits[0],
            prob(maps.mask_logits),
            embedding,
            self.is_thing,
            stride,
            self.architecture.weigh_own_mask,
            thresholds,
            self.class_of_logit,
        )
