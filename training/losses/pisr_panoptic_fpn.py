# SPDX-License-Identifier: Apache-2.0
"""Loss of PISR on Panoptic FPN and on UPerNet: terms of final and initial heads (equation 1)."""

from dataclasses import dataclass

from torch import Tensor

from panoptic_ros.models.config import NOT_NEGATIVE, Rules
from panoptic_ros.models.parts.mask_rcnn.network import RoIHeads, RoIMaps
from panoptic_ros.models.pisr.panoptic_fpn import PISRPanopticFPN

from ..data.sample import Batch
from .panoptic_fpn import PanopticFPNLossConfig, head_terms, proposal_terms, semantic_loss
from .parts.objects import find_objects
from .parts.terms import with_initial, with_sum


@dataclass(frozen=True)
class PISRPanopticFPNLossConfig(PanopticFPNLossConfig):
    """Sizes of the samples and weights of the terms."""

    rules = Rules(gamma=NOT_NEGATIVE)

    gamma: float = 0.5
    """Weight of the terms of the initial heads (Table B.3)."""


def batch_loss(
    model: PISRPanopticFPN, batch: Batch, stride: int, config: PISRPanopticFPNLossConfig
) -> dict[str, Tensor]:
    """Compute all terms for a batch: the `batch_loss` of both families, see `losses.registry`.

    Final and initial heads learn from the same sample of proposals. The region proposal network,
    which both share, learns with full weight (inferred).

    Args:
        model: network whose heads run on the boxes that are sampled here.
        batch: images, with labels at full resolution.
        stride: input px per cell of the semantic loss.
        config: sizes of the samples and weights.

    Returns:
        The weighted terms of Panoptic FPN; with the block also `initial_semantic`,
        `initial_class`, `initial_box`, `initial_mask` and `initial_embedding`; and their sum
        `loss`.
    """
    maps = model.maps(batch.image)
    objects = find_objects(batch.class_map, batch.instance_map, model.is_thing, batch.hidden_map)
    class_map = batch.at_stride(stride).class_map
    terms, rois = proposal_terms(model, maps.initial or maps.final, batch, objects, config)

    def stage(heads: RoIHeads, outputs: RoIMaps) -> dict[str, Tensor]:
        semantic = semantic_loss(outputs.semantic_logits, class_map, stride)
        return {
            'semantic': config.semantic_weight * semantic,
            **head_terms(heads, model.config, outputs.levels[:4], batch, objects, rois, config),
        }

    final = stage(model, maps.final)
    if maps.initial is not None:
        final = with_initial(final, stage(model.initial, maps.initial), config.gamma)
    return with_sum(terms | final)
