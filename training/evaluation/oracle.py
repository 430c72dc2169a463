# SPDX-License-Identifier: Apache-2.0
"""CIAE with ground-truth boxes and queries: the upper limit of the paper's Table V."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F

from panoptic_ros.core.frame import Geometry, PanopticFrame
from panoptic_ros.core.image import CameraImage
from panoptic_ros.core.model_info import Outputs
from panoptic_ros.models.ciae.decode import Proposals
from panoptic_ros.models.ciae.network import CIAE
from panoptic_ros.runtime.predictor import Predictor, to_frame

from ..data.sample import Sample
from ..losses.parts.instances import find_instances, instance_mean


def make_oracle(predictor: Predictor) -> Callable[[Sample], PanopticFrame]:
    """Return a function that segments samples with ground truth instead of the detector.

    Args:
        predictor: predictor of a CIAE module.

    Raises:
        ValueError: if the predictor runs anything else.
    """
    model = getattr(predictor.backend, 'model', None)
    if not isinstance(model, CIAE):
        raise ValueError(
            'the oracle needs a checkpoint (.ckpt) of family ciae, got '
            f'{predictor.info.name} of family {predictor.info.family} on '
            f'{predictor.backend.name}'
        )
    return partial(oracle_frame, predictor, model)


@torch.no_grad()
def oracle_frame(predictor: Predictor, model: CIAE, sample: Sample) -> PanopticFrame:
    """Segment a sample as the predictor would, with the ground-truth instances as proposals.

    The query of an instance is the mean of the predicted embedding over its mask; its class is
    the ground truth, unless the model predicts classes from the embedding.
    """
    pixels, geometry = predictor.prepare(CameraImage(sample.image, 'rgb'))
    device = model.memory.device
    image = torch.from_numpy(pixels).to(device).permute(2, 0, 1)[None]
    maps = model.maps(image, model.config.stride)
    outputs = model.segment(
        F.normalize(maps.embedding[0], dim=0),
        maps.semantic_logits,
        gt_proposals(sample, geometry, maps.embedding),
        model.default_thresholds(),
    )
    return to_frame(
        Outputs(*(value.cpu().numpy() for value in outputs)), predictor.info, geometry, stamp_s=0
    )


def gt_proposals(sample: Sample, geometry: Geometry, embedding: torch.Tensor) -> Proposals:
    """Return the instances of a sample that have a cell of the map, and one empty row.

    Args:
        sample: sample at camera resolution.
        geometry: placement of the image in the network's input.
        embedding: embedding before normalisation, at the geometry's stride, (1, D, h, w).
    """
    (height, width), per_cell = geometry.map_size, geometry.px_per_cell
    rows, columns = (
        np.minimum(((np.arange(cells) + 0.5) * px).astype(int), limit - 1)
        for cells, px, limit in zip((height, width), per_cell, geometry.image_size, strict=True)
    )
    cell_map = np.zeros(embedding.shape[2:], np.int64)
    cell_map[:height, :width] = sample.instance_map[np.ix_(rows, columns)]
    on_cells = find_instances(torch.from_numpy(cell_map)[None].to(embedding.device))
    in_camera = {i.id: i for i in find_instances(torch.from_numpy(sample.instance_map)[None])}
    classes, boxes = [], []
    y, x = (geometry.stride / px for px in per_cell)  # input px per camera px
    for instance in (in_camera[found.id] for found in on_cells):
        classes.append(
            int(sample.class_map[instance.rows, instance.columns][instance.mask.numpy()][0])
        )
        boxes.append(
            [
                instance.columns.start * x,
                instance.rows.start * y,
                instance.columns.stop * x,
                instance.rows.stop * y,
            ]
        )
    mean = F.pad(instance_mean(embedding, on_cells), (0, 0, 0, 1))
    keep = torch.arange(len(mean), device=mean.device) < len(on_cells)
    return Proposals(
        query=F.normalize(mean, dim=1),
        box=mean.new_tensor([*boxes, [0.0] * 4]),
        keep=keep,
        class_id=torch.tensor([*classes, 0], device=mean.device),
        score=keep.float(),
    )
