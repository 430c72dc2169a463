# SPDX-License-Identifier: Apache-2.0
"""Statistics over processes, with a simulated second process."""

import pytest
import torch

from panoptic_training.losses.parts.processes import mean_over_processes, sum_over_processes


@pytest.fixture
def another_process(monkeypatch):
    """Simulate a second process whose tensors are all 10."""
    monkeypatch.setattr(torch.distributed, 'is_initialized', lambda: True)
    monkeypatch.setattr(torch.distributed, 'get_world_size', lambda: 2)
    monkeypatch.setattr(torch.distributed, 'all_reduce', lambda tensor: tensor.add_(10))


def test_one_process_changes_nothing():
    value = torch.tensor([1.0, 2.0])
    sum_over_processes(value)
    assert value.tolist() == mean_over_processes(value).tolist() == [1, 2]


@pytest.mark.usefixtures('another_process')
def test_sums_change_in_place_and_means_do_not():
    first, second = torch.tensor([1.0, 2.0]), torch.tensor(4.0)
    sum_over_processes(first, second)
    assert (first.tolist(), second.item()) == ([11, 12], 14)
    assert mean_over_processes(second).item() == 12
    assert second.item() == 14
