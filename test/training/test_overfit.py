# SPDX-License-Identifier: Apache-2.0
"""Overfitting: every family that is trained learns two images of the city by heart."""

import numpy as np
import pytest
import torch

from panoptic_ros.core.image import CameraImage
from panoptic_ros.metrics.scores import ImageScores
from panoptic_ros.models.parts.mask_rcnn.network import MaskRCNN
from panoptic_ros.models.registry import FAMILIES, build
from panoptic_ros.runtime.predictor import Predictor
from panoptic_training.data.registry import open_reader
from panoptic_training.data.sample import Sample, collate, pack
from panoptic_training.evaluation.relations import RelationScores
from panoptic_training.evaluation.scoring import pair_of
from panoptic_training.losses.registry import build_loss
from panoptic_training.module_backend import ModuleBackend, model_info
from panoptic_training.trainer.schedule import poly, warmup

STEPS = 400
CELLS = {'backbone': 'mobilenetv2_050', 'stride': 2, 'min_stuff_area': 0.0}
CENTERS = {
    **CELLS,
    'multigrid': (),
    'separable': True,
    'aspp_channels': 64,
    'low_level_channels': 16,
    'decoder_channels': 64,
    'instance_channels': 48,
    'head_channels': 64,
    'instance_head_channels': 32,
    'top_k': 64,
    'center_threshold': 0.3,
}
CENTER_LOSS = {'hard_pixels': 1.0, 'sigma': 4.0, 'offset_weight': 0.1}

ROIS = {
    'backbone': 'mobilenetv2_050',
    'fpn_channels': 64,
    'anchor_scale': 4.0,
    'canonical_size': 112.0,
    'proposals_per_level': 50,
    'proposals': 100,
    'box_width': 256,
    'embedding_dim': 32,
    'mask_widths': (64, 64),
    'stride': 1,
    'top_k': 32,
    'min_stuff_area': 16.0,
}
RELATED = {'block_channels': 64, 'num_encodings': 24}

NETWORKS = {
    'ciae': (
        {
            **CELLS,
            'channels': 48,
            'tower_depth': 2,
            'branch_channels': 48,
            'embedding_dim': 16,
            'nms_across_classes': True,
            'score_threshold': 0.2,
            'class_threshold': 0.3,
        },
        {'level_limits': (32, 64, 128, 256)},
    ),
    'einet': ({**CENTERS, 'interaction_channels': 48}, {**CENTER_LOSS, 'min_overlap': 0.2}),
    'hle': (
        {
            **CELLS,
            'separable': True,
            'aspp_channels': 64,
            'low_level_channels': 16,
            'decoder_channels': 64,
            'spatial_sigma': 'predicted',
            'top_k': 64,
            'refine': 1,
            'min_area': 0.0,
        },
        {'seed_thing_weight': 10.0},
    ),
    'panoptic_deeplab': (CENTERS, CENTER_LOSS),
    'pisr': ({**CENTERS, 'block_channels': 64, 'num_encodings': 12}, CENTER_LOSS),
    'pisr_maskformer': (
        {
            **CELLS,
            'fpn_channels': 64,
            'mask_channels': 64,
            'num_queries': 40,
            'query_channels': 64,
            'decoder_layers': 3,
            'attention_heads': 4,
            'feedforward': 256,
            'dropout': 0.0,
            'block_channels': 64,
            'score_threshold': 0.5,
        },
        {},
    ),
    'panoptic_fpn': ({**ROIS, 'semantic_channels': 64}, {'roi_samples': 64}),
    'pisr_panoptic_fpn': ({**ROIS, 'semantic_channels': 64, **RELATED}, {'roi_samples': 64}),
    'pisr_upernet': ({**ROIS, 'semantic_channels': 64, **RELATED}, {'roi_samples': 64}),
    # Whole things, which overlap: the relations must take them apart.
    'sognet': (
        {
            **ROIS,
            'semantic_widths': (64, 32),
            'deformable': False,
            'box_dim': 32,
            'category_dim': 32,
            'mask_dim': 32,
            'overlap_of': 'mask',
            'overlap_threshold': 0.7,
        },
        {'roi_samples': 64},
    ),
}
"""Network and loss of each family, larger than the registry's small ones.

A family without an entry is tested with CELLS and the defaults of its configurations.
"""

TRAINED = sorted(name for name, row in FAMILIES.items() if row.loss is not None)
MASKED = [name for name in TRAINED if issubclass(FAMILIES[name].network, MaskRCNN)]
"""Families that predict a mask for each instance; the others group the cells of dense maps."""


def make(family, labels):
    """A module with fresh weights and its loss."""
    torch.manual_seed(0)
    network, loss = NETWORKS.get(family, (CELLS, {}))
    return build(family, labels, **network), build_loss(family, loss)


def learn(model, loss, samples, stride, lr, warmup_steps, weight_decay):
    """Train on all samples at once, and return their scores."""
    batch = collate(
        [(torch.from_numpy(sample.image).permute(2, 0, 1), pack(sample)) for sample in samples]
    )
    optimizer = torch.optim.AdamW(model.train().parameters(), weight_decay=weight_decay)
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group['lr'] = lr * warmup(step, warmup_steps) * poly(step / STEPS)
        model.on_step(step / STEPS)
        optimizer.zero_grad()
        loss(model, batch, stride)['loss'].backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        model.renormalize()
    model.eval()
    predictor = Predictor(ModuleBackend(model), model_info(model, samples[0].class_map.shape))
    scores = ImageScores(model.labels)
    for sample in samples:
        frame = predictor.predict(CameraImage(sample.image, 'rgb'), stamp_s=0)
        scores.update(pair_of(sample, frame, model.labels))
    summary = scores.summary()
    print({name: round(value, 1) for name, value in summary.items()})
    return summary


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize('family', [name for name in TRAINED if name not in MASKED])
def test_dense_families_learn_two_images_to_pq_95(family):
    """Minutes on a core of its own. Labels have one class per cell, so decoding can be exact."""
    reader = open_reader('synthetic', 'val', size=(128, 256))

    def cells(label_map):
        return np.kron(label_map[1::2, 1::2], np.ones((2, 2), label_map.dtype))

    samples = [
        Sample(sample.image, cells(sample.class_map), cells(sample.instance_map))
        for sample in (reader.read(index, 0) for index in (0, 9))
    ]
    summary = learn(
        *make(family, reader.labels), samples, 2, lr=3e-3, warmup_steps=20, weight_decay=1e-2
    )
    assert summary['pq'] > 95


@pytest.mark.slow
@pytest.mark.timeout(7200)  # minutes on a core of its own
@pytest.mark.parametrize('family', MASKED)
def test_mask_families_learn_two_pictures_to_pq_95(family):
    related = family == 'sognet'
    reader = open_reader('synthetic', 'val', size=(256, 512), hidden=related)
    samples = [reader.read(index, 0) for index in range(2)]
    model, loss = make(family, reader.labels)
    summary = learn(model, loss, samples, 1, lr=2e-3, warmup_steps=50, weight_decay=1e-4)
    assert summary['pq'] > 95 and summary['pq_thing'] > 85
    if related:
        relations = RelationScores(model)
        for sample in samples:
            relations.update(sample)
        print(f'overlap accuracy {relations.accuracy.compute():.1f}')
        assert relations.accuracy.compute() > 85
