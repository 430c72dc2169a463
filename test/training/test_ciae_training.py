"""CIAE in training: progress reaches the memory, each parameter learns."""

import lightning as L
import numpy as np
import pytest
import torch
from tiny_model import LABELS
from torch.utils.data import DataLoader

from panoptic_ros.models.registry import build
from panoptic_training.backend import ModuleBackend
from panoptic_training.data.sample import Batch
from panoptic_training.families import build_loss
from panoptic_training.module import PanopticModule

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
