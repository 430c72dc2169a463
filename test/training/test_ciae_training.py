"""CIAE in training: progress reaches the memory, each parameter learns, two images are learned."""

import lightning as L
import numpy as np
import pytest
import torch
from tiny_model import LABELS
from torch.utils.data import DataLoader

from panoptic_ros.image import CameraImage
from panoptic_ros.models.registry import build
from panoptic_ros.runtime.predictor import Predictor
from panoptic_training.backend import ModuleBackend, describe
from panoptic_training.data.readers import open_reader
from panoptic_training.data.sample import Batch, Sample
from panoptic_training.families import build_loss
from panoptic_training.module import PanopticModule
from panoptic_training.schedule import poly, warmup
from panoptic_training.scoring import Scores

SMALL = {'backbone': 'mobilenetv2_035', 'channels': 16, 'tower_depth': 1, 'branch_channels': 16,
         'embedding_dim': 8}


def batch(things=True, count=2):
    rng = np.random.default_rng(0)
    class_map = torch.zeros(count, 64, 128, dtype=torch.int64)
    class_map[:, 32:] = 1
    instance_map = torch.zeros_like(class_map)
    if things:
        class_map[0, 10:40, 20:60], instance_map[0, 10:40, 20:60] = 2, 1
    image = torch.from_numpy(rng.integers(0, 256, (count, 3, 64, 128), np.uint8))
    return Batch(image, class_map, instance_map)


@pytest.mark.parametrize(('network', 'things'), [
    ({}, True),
    ({}, False),  # no instance in the batch
    ({'stuff_branch': True}, False),
    ({'box_embedding': False, 'thing_memory': 'classes', 'class_from': 'embedding',
      'detector_classes': 'one'}, True),
])
def test_every_parameter_gets_a_gradient(network, things):
    # DDP waits for a gradient of every parameter.
    model = build('ciae', LABELS, **SMALL, **network)
    terms = build_loss('ciae', {})(model, batch(things), 4)
    terms['loss'].backward()
    assert all(value.isfinite() for value in terms.values())
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


def test_memory_follows_training_and_its_schedule_and_rests_otherwise():
    torch.manual_seed(0)
    model, loss = build('ciae', LABELS, **SMALL), build_loss('ciae', {'memory_momentum': 0.5})
    start = model.memory.clone()
    loss(model.eval(), batch(), 4)['loss'].backward()
    assert torch.equal(model.memory, start), 'frozen outside training'
    model.train().on_step(1.0)
    loss(model, batch(), 4)
    torch.testing.assert_close(model.memory, start)  # at the end the momentum is 1
    model.on_step(0.0)
    loss(model, batch(), 4)['loss'].backward()
    assert (model.memory * start).sum(dim=1).max() < 0.999
    torch.testing.assert_close(model.memory.norm(dim=1), torch.ones(len(start)))


def test_lightning_tells_the_model_its_progress(monkeypatch):
    module = PanopticModule('ciae', SMALL, LABELS.to_dicts(), (64, 128))
    seen = []
    monkeypatch.setattr(module.model, 'on_step', seen.append)
    trainer = L.Trainer(max_steps=4, accelerator='cpu', logger=False, enable_checkpointing=False,
                        enable_progress_bar=False, enable_model_summary=False)
    trainer.fit(module, DataLoader([batch()] * 2, batch_size=None))
    assert seen == [0.0, 0.25, 0.5, 0.75]


def test_validation_scores_float32_whatever_the_training_computes_in():
    model = build('ciae', LABELS, **SMALL, score_threshold=0.0, class_threshold=0.0).eval()
    backend, image = ModuleBackend(model), batch().image[0].permute(1, 2, 0).numpy()
    thresholds = {name: t.default for name, t in model.thresholds.items()}
    exact = backend.run(image, thresholds)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        mixed = backend.run(image, thresholds)
    for name, value in mixed._asdict().items():
        np.testing.assert_array_equal(value, getattr(exact, name), err_msg=name)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_images_are_learned_to_pq_95():
    """Minutes on a core of its own. Labels have one class per cell, so decoding can be exact."""
    torch.manual_seed(0)
    reader = open_reader('synthetic', 'val', size=(128, 256))

    def cells(label_map):
        return np.kron(label_map[1::2, 1::2], np.ones((2, 2), label_map.dtype))

    samples = [Sample(sample.image, cells(sample.class_map), cells(sample.instance_map))
               for sample in (reader.read(index, 0) for index in (0, 9))]
    both = Batch(*(torch.from_numpy(np.stack([getattr(s, name) for s in samples]))
                   for name in ('image', 'class_map', 'instance_map')))
    both = Batch(both.image.permute(0, 3, 1, 2), both.class_map.long(), both.instance_map.long())
    model = build('ciae', reader.labels, backbone='mobilenetv2_050', channels=48, tower_depth=2,
                  branch_channels=48, embedding_dim=16, stride=2, nms_across_classes=True,
                  min_stuff_area=0.0, score_threshold=0.2, class_threshold=0.3)
    loss, steps = build_loss('ciae', {'level_limits': (32, 64, 128, 256)}), 400
    optimizer = torch.optim.AdamW(model.parameters())
    for step in range(steps):
        for group in optimizer.param_groups:
            group['lr'] = 3e-3 * poly(step / steps) * warmup(step, 20)
        model.on_step(step / steps)
        optimizer.zero_grad()
        loss(model, both, 2)['loss'].backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
    predictor = Predictor(ModuleBackend(model.eval()), describe(model, (128, 256)))
    scores = Scores(reader.labels)
    for sample in samples:
        scores.update(sample, predictor.predict(CameraImage(sample.image, 'rgb'), stamp_s=0))
    print(scores.summary())
    assert scores.summary()['pq'] > 95
