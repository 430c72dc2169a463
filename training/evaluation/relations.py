# SPDX-License-Identifier: Apache-2.0
"""Relations between instances, which one covers which, predicted by a model and scored."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from panoptic_ros.core.image import CameraImage
from panoptic_ros.core.model_info import Outputs
from panoptic_ros.metrics.overlap_accuracy import COVERED, OverlapAccuracy, approximate_relation
from panoptic_ros.models.parts.mask_rcnn.masks import inside
from panoptic_ros.models.sognet.network import SOGNet
from panoptic_ros.models.sognet.relation import significant_overlap
from panoptic_ros.runtime.predictor import Predictor, to_frame

from ..data.sample import Sample
from ..losses.parts.objects import Objects, find_objects, mask_targets, whole_masks
from .predictor import module_of


class RelationScores:
    """Overlap accuracy of one model on one data set (SOGNet, equation 15).

    Relations are predicted from the ground-truth boxes, classes and masks (inferred: the paper
    does not specify it; R* needs them), and only between instances that overlap, by the rule that
    the model was trained with. The ground truth is computed from complete masks if the data has
    hidden parts, otherwise from boxes; in the latter case a model of masks is not scored, because
    visible masks do not overlap.
    """

    def __init__(self, model: SOGNet) -> None:
        self.model = model
        self.accuracy = OverlapAccuracy()

    def update(self, sample: Sample) -> None:
        """Add one image."""
        if sample.hidden_map is not None or self.model.config.overlap_of == 'box':
            self.accuracy.update(*gt_relations(self.model, sample))


def relation_model(predictor: Predictor, path: Path) -> SOGNet | None:
    """Return the module that a predictor runs; None if it has no relation module."""
    if predictor.info.family != SOGNet.family:
        return None
    model = module_of(predictor, path)
    return model if isinstance(model, SOGNet) and model.relation is not None else None


@torch.no_grad()
def gt_relations(model: SOGNet, sample: Sample) -> tuple[np.ndarray, np.ndarray]:
    """Return O and R* of a sample's N instances, both (N, N); see `RelationScores`."""
    assert model.relation is not None
    config = model.config
    class_map, instance_map, hidden = _label_maps(model, sample)
    objects = true_objects(model, sample)
    known = hidden if config.overlap_of == 'mask' else None
    visible = whole_masks(instance_map, objects.id)
    boxes = inside(objects.box, (class_map.shape[0], class_map.shape[1]))
    complete = boxes if hidden is None else whole_masks(instance_map, objects.id, hidden)
    features = mask_targets(instance_map, objects.id, objects.box, config.mask_size, known)
    relation = model.relation(objects.box, objects.thing, features)
    overlapping = boxes if config.overlap_of == 'box' else complete
    enters = significant_overlap(overlapping.flatten(1).float(), config.least_overlap).any(dim=1)
    relation = relation * enters[:, None] * enters
    return relation.cpu().numpy(), approximate_relation(
        complete.cpu().numpy(), visible.cpu().numpy(), config.least_overlap
    )


def true_objects(model: SOGNet, sample: Sample) -> Objects:
    """Return the instances of a sample in the order of `gt_relations`, boxes in px of the image.

    A model of boxes was trained without hidden parts, so that its boxes have none.
    """
    class_map, instance_map, hidden = _label_maps(model, sample)
    known = hidden if model.config.overlap_of == 'mask' else None
    return find_objects(
        class_map[None], instance_map[None], model.is_thing, None if known is None else known[None]
    )[0]


def _label_maps(model: SOGNet, sample: Sample) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return class and instance map (H, W) and hidden map (L, H, W) as int64 tensors."""
    class_map, instance_map, hidden = (
        None if m is None else torch.from_numpy(m.astype(np.int64)).to(model.mean.device)
        for m in (sample.class_map, sample.instance_map, sample.hidden_map)
    )
    assert class_map is not None and instance_map is not None
    return class_map, instance_map, hidden


@torch.no_grad()
def predicted_relations(
    predictor: Predictor, model: SOGNet, sample: Sample
) -> list[dict[str, Any]]:
    """Return the pairs of predicted segments of which one covers the other, the surest first.

    Returns:
        For each pair with an O of at least COVERED the ids and class names of the upper
        (`segment`) and the lower segment (`on`) in the frame, and `strength`, their O.
    """
    pixels, geometry = predictor.prepare(CameraImage(sample.image, 'rgb'))
    image = torch.from_numpy(pixels).to(model.mean.device).permute(2, 0, 1)[None]
    segments, relation = model.decode_with_relation(
        model.maps(image), **model.default_thresholds()
    )
    frame = to_frame(
        Outputs(*(value.cpu().numpy() for value in segments)), predictor.info, geometry, stamp_s=0
    )  # without segments in the padding
    listed = torch.from_numpy(
        np.isin(np.arange(1, len(relation) + 1), frame.segments['segment_id'])
    ).to(relation.device)
    relation = relation * listed[:, None] * listed
    return [
        _pair(model, segments.class_id, lower, upper, float(relation[lower, upper]))
        for lower, upper in sorted(
            torch.nonzero(relation >= COVERED).tolist(),
            key=lambda pair: -float(relation[pair[0], pair[1]]),
        )
    ]


def _pair(
    model: SOGNet, class_id: Tensor, lower: int, upper: int, strength: float
) -> dict[str, Any]:
    names = model.labels.names
    return {
        'segment': upper + 1,
        'class': names[int(class_id[upper])],
        'on': lower + 1,
        'on_class': names[int(class_id[lower])],
        'strength': round(strength, 4),
    }
