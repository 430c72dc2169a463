# SPDX-License-Identifier: Apache-2.0
"""CIAE in training: gradients of all parameters, and updates of the memory."""

import lightning as L
import numpy as np
import pytest
import torch
from label_maps import street
from small_models import SMALL_CIAE
from tiny_model import LABELS
from torch.utils.data import DataLoader

from panoptic_ros.models.registry import build
from panoptic_training.losses.ciae import memory_rows
from panoptic_training.losses.parts.ciae_memory import update_memory
from panoptic_training.losses.parts.class_means import class_sums
from panoptic_training.losses.registry import build_loss
from panoptic_training.module_backend import ModuleBackend
from panoptic_training.trainer.module import PanopticModule

NO_THINGS = street(lambda class_map, instance_map: (class_map.clamp_(max=1), instance_map.zero_()))


@pytest.mark.parametrize(
    ('network', 'batch'),
    [
        ({}, street()),
        ({}, NO_THINGS),
        ({'stuff_branch': True}, NO_THINGS),
        (
            {
                'box_embedding': False,
                'thing_memory': 'classes',
                'class_from': 'embedding',
                'detector_classes': 'one',
            },
            street(),
        ),
    ],
)
def test_every_parameter_gets_a_gradient(network, batch):
    # DDP needs a gradient of every parameter.
    model = build('ciae', LABELS, **SMALL_CIAE, **network)
    terms = build_loss('ciae', {})(model, batch, 4)
    terms['loss'].backward()
    assert all(value.isfinite() for value in terms.values())
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


def test_memory_is_updated_only_in_training_with_its_momentum():
    torch.manual_seed(0)
    model, loss = build('ciae', LABELS, **SMALL_CIAE), build_loss('ciae', {'memory_momentum': 0.5})
    start = model.memory.clone()
    loss(model.eval(), street(), 4)['loss'].backward()
    assert torch.equal(model.memory, start), 'frozen outside training'
    model.train().on_step(1.0)
    loss(model, street(), 4)
    torch.testing.assert_close(model.memory, start)  # at the end the momentum is 1
    model.on_step(0.0)
    loss(model, street(), 4)['loss'].backward()
    assert (model.memory * start).sum(dim=1).max() < 0.999
    torch.testing.assert_close(model.memory.norm(dim=1), torch.ones(len(start)))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_memory_is_updated_in_float32_and_only_by_finite_values(dtype):
    model, loss = build('ciae', LABELS, **SMALL_CIAE), build_loss('ciae', {'memory_momentum': 0.5})
    batch, maps, given = street(), model.maps, {}

    def large(image, stride):
        found = maps(image, stride)
        given['embedding'] = (found.embedding * 0 + 3000.0).to(dtype)  # sums exceed float16
        given['embedding'][:, 0] = given.get('fill', 1.0)
        return found._replace(embedding=given['embedding'])

    model.maps, start = large, model.memory.clone()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        loss(model.train(), batch, 4)
    rows = memory_rows(batch.at_stride(4).class_map, model.memory_of_class)
    expected = start.clone()
    update_memory(expected, *class_sums(given['embedding'].float(), rows, len(start)), 0.5)
    assert torch.equal(model.memory, expected) and model.memory.isfinite().all()
    assert not torch.equal(expected, start)

    given['fill'], before = torch.inf, model.memory.clone()
    loss(model, batch, 4)
    assert torch.equal(model.memory, before)


def test_the_model_receives_the_progress_of_the_training(monkeypatch):
    module = PanopticModule('ciae', SMALL_CIAE, LABELS.to_dicts(), (64, 96))
    seen = []
    monkeypatch.setattr(module.model, 'on_step', seen.append)
    trainer = L.Trainer(
        max_steps=4,
        accelerator='cpu',
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader([street()] * 2, batch_size=None))
    assert seen == [0.0, 0.25, 0.5, 0.75]


def test_validation_runs_in_float32_at_every_training_precision():
    model = build('ciae', LABELS, **SMALL_CIAE, score_threshold=0.0, class_threshold=0.0).eval()
    backend, image = ModuleBackend(model), street().image[0].permute(1, 2, 0).numpy()
    thresholds = {name: t.default for name, t in model.thresholds.items()}
    exact = backend.run(image, thresholds)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        mixed = backend.run(image, thresholds)
    for name, value in mixed._asdict().items():
        np.testing.assert_array_equal(value, getattr(exact, name), err_msg=name)
