"""Panoptic FPN and the families built on it learn two pictures of the city by heart."""

import pytest
import torch

from panoptic_ros.image import CameraImage
from panoptic_ros.models.registry import build
from panoptic_ros.runtime.predictor import Predictor
from panoptic_training.backend import ModuleBackend, describe
from panoptic_training.data.readers import open_reader
from panoptic_training.data.sample import collate, pack
from panoptic_training.families import build_loss
from panoptic_training.relations import RelationScores
from panoptic_training.schedule import poly, warmup
from panoptic_training.scoring import Scores

SIZE = (256, 512)
COMMON = {'backbone': 'mobilenetv2_050', 'fpn_channels': 64, 'anchor_scale': 4.0,
          'canonical_size': 112.0, 'proposals_per_level': 50, 'proposals': 100, 'box_width': 256,
          'embedding_dim': 32, 'mask_widths': (64, 64), 'stride': 1, 'top_k': 32,
          'min_stuff_area': 16.0}
STEPS = 400


@pytest.mark.slow
@pytest.mark.timeout(7200)  # a few minutes of one core that is free
@pytest.mark.parametrize(('family', 'network', 'hidden'), [
    ('panoptic_fpn', {'semantic_channels': 64}, False),
    ('pisr_panoptic_fpn', {'semantic_channels': 64, 'block_channels': 64, 'num_encodings': 24},
     False),
    ('pisr_upernet', {'semantic_channels': 64, 'block_channels': 64, 'num_encodings': 24}, False),
    # Whole things, which overlap: the relations must take them apart.
    ('sognet', {'semantic_widths': (64, 32), 'deformable': False, 'box_dim': 32,
                'category_dim': 32, 'mask_dim': 32, 'overlap_of': 'mask',
                'overlap_threshold': 0.7}, True),
])
def test_two_pictures_are_learned_to_pq_95(family, network, hidden):
    torch.manual_seed(0)
    reader = open_reader('synthetic', 'val', size=SIZE, hidden=hidden)
    samples = [reader.read(index, 0) for index in range(2)]
    batch = collate([(torch.from_numpy(sample.image).permute(2, 0, 1), pack(sample))
                     for sample in samples])
    model = build(family, reader.labels, **COMMON, **network).train()
    loss = build_loss(family, {'roi_samples': 64})
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-4)
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group['lr'] = 2e-3 * warmup(step, 50) * poly(step / STEPS)
        terms = loss(model, batch, 1)
        optimizer.zero_grad()
        terms['loss'].backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
    model.eval()
    predictor, scores = Predictor(ModuleBackend(model), describe(model, SIZE)), \
        Scores(reader.labels)
    for sample in samples:
        scores.update(sample, predictor.predict(CameraImage(sample.image, 'rgb'), stamp_s=0))
    summary = scores.summary()
    print({name: round(value, 1) for name, value in summary.items()})
    assert summary['pq'] > 95 and summary['pq_thing'] > 85
    if hidden:
        relations = RelationScores(model)
        for sample in samples:
            relations.update(sample)
        print(f'overlap accuracy {relations.accuracy.result():.1f}')
        assert relations.accuracy.result() > 85
