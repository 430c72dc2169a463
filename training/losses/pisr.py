# SPDX-License-Identifier: Apache-2.0
"""Loss of PISR on Panoptic-DeepLab: its terms on the final and the initial heads (equation 1)."""

from dataclasses import dataclass

from torch import Tensor

from panoptic_ros.models.config import NOT_NEGATIVE, Rules
from panoptic_ros.models.pisr.panoptic_deeplab import PISR

from ..data.sample import Batch
from .panoptic_deeplab import PanopticDeepLabLossConfig, terms_of_maps
from .parts.terms import with_initial, with_sum


@dataclass(frozen=True)
class PISRLossConfig(PanopticDeepLabLossConfig):
    """Weights of the terms and parameters of the targets; lengths in network-input pixels."""

    rules = Rules(gamma=NOT_NEGATIVE)

    gamma: float = 0.5
    """Weight of the terms of the initial heads (Table B.3)."""


def pisr_loss(
    final: tuple[Tensor, Tensor, Tensor],
    initial: tuple[Tensor, Tensor, Tensor] | None,
    class_map: Tensor,
    instance_map: Tensor,
    is_thing: Tensor,
    stride: int,
    config: PISRLossConfig,
) -> dict[str, Tensor]:
    """Compute L_sem + L_ins + gamma (L'_sem + L'_ins), where ' marks the initial heads.

    The form of equation 1 for this base is inferred. Half-precision maps are converted to float32.

    Args:
        final: semantic logits (B, C, h, w), heatmap (B, 1, h, w) and offset in px (B, 2, h, w)
            of the final heads.
        initial: the same of the initial heads, or None if the network has none.
        class_map: class ids, VOID_ID for void, (B, h, w) int64.
        instance_map: 1 and up on things, 0 on stuff, void and crowd, (B, h, w) int64.
        is_thing: which classes are things, (C,) bool.
        stride: input px per cell of the maps.
        config: weights and parameters of the targets.

    Returns:
        Weighted scalars `semantic`, `center` and `offset`, with initial heads also
        `initial_semantic`, `initial_center` and `initial_offset`, and their sum `loss`.

    Raises:
        ValueError: if the shapes do not fit together.
    """
    terms, *first = terms_of_maps(
        [final, *([] if initial is None else [initial])],
        class_map,
        instance_map,
        is_thing,
        stride,
        config,
    )
    return with_sum(with_initial(terms, first[0], config.gamma) if first else terms)


def batch_loss(
    model: PISR, batch: Batch, stride: int, config: PISRLossConfig
) -> dict[str, Tensor]:
    """Compute `pisr_loss` for a batch: the `batch_loss` of the family, see `losses.registry`."""
    labels, maps = batch.at_stride(stride), model.maps(batch.image, stride)
    return pisr_loss(
        maps.final[:3],
        maps.initial and maps.initial[:3],
        labels.class_map,
        labels.instance_map,
        model.is_thing,
        stride,
        config,
    )
