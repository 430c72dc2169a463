"""Panoptic-DeepLab, the families built on it and MaskFormer learn two images by heart."""

import numpy as np
import pytest
import torch

from panoptic_ros.image import CameraImage
from panoptic_ros.models.registry import build
from panoptic_ros.runtime.predictor import Predictor
from panoptic_training.backend import ModuleBackend, describe
from panoptic_training.data.readers import open_reader
from panoptic_training.data.sample import Batch, Sample
from panoptic_training.families import build_loss
from panoptic_training.schedule import poly, warmup
from panoptic_training.scoring import Scores

SIZE, STEPS = (128, 256), 400
COMMON = {'backbone': 'mobilenetv2_050', 'stride': 2, 'min_stuff_area': 0.0}
NETWORK = {
    **COMMON, 'multigrid': (), 'separable': True, 'aspp_channels': 64,
    'low_level_channels': 16, 'decoder_channels': 64, 'instance_channels': 48,
    'head_channels': 64, 'instance_head_channels': 32, 'top_k': 64, 'center_threshold': 0.3}
QUERIES = {
    **COMMON, 'fpn_channels': 64, 'mask_channels': 64, 'num_queries': 40, 'query_channels': 64,
    'decoder_layers': 3, 'attention_heads': 4, 'feedforward': 256, 'dropout': 0.0,
    'block_channels': 64, 'score_threshold': 0.5}
LOSS = {'hard_pixels': 1.0, 'sigma': 4.0, 'offset_weight': 0.1}


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(('family', 'network', 'loss'), [
    ('panoptic_deeplab', NETWORK, LOSS),
    ('einet', {**NETWORK, 'interaction_channels': 48}, {**LOSS, 'min_overlap': 0.2}),
    ('pisr', {**NETWORK, 'block_channels': 64, 'num_encodings': 12}, LOSS),
    ('pisr_maskformer', QUERIES, {}),
])
def test_two_images_are_learned_to_pq_95(family, network, loss):
    """A few minutes on one core. Labels have one class per cell, so decoding can be exact."""
    torch.manual_seed(0)
    reader = open_reader('synthetic', 'val', size=SIZE)

    def cells(label_map):
        return np.kron(label_map[1::2, 1::2], np.ones((2, 2), label_map.dtype))

    samples = [Sample(sample.image, cells(sample.class_map), cells(sample.instance_map))
               for sample in (reader.read(index, 0) for index in (0, 9))]
    both = Batch(*(torch.from_numpy(np.stack([getattr(s, name) for s in samples]))
                   for name in ('image', 'class_map', 'instance_map')))
    both = Batch(both.image.permute(0, 3, 1, 2), both.class_map.long(), both.instance_map.long())
    model = build(family, reader.labels, **network)
    terms = build_loss(family, loss)
    optimizer = torch.optim.AdamW(model.parameters())
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group['lr'] = 3e-3 * poly(step / STEPS) * warmup(step, 20)
        optimizer.zero_grad()
        terms(model, both, 2)['loss'].backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
    predictor = Predictor(ModuleBackend(model.eval()), describe(model, SIZE))
    scores = Scores(reader.labels)
    for sample in samples:
        scores.update(sample, predictor.predict(CameraImage(sample.image, 'rgb'), stamp_s=0))
    assert scores.summary()['pq'] > 95, scores.summary()
