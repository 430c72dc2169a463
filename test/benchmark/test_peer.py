# SPDX-License-Identifier: Apache-2.0
"""Comparison with a network of the transformers library, here a very small one."""

import numpy as np
import pytest
from matrix_model import with_matrix_products

from panoptic_ros.benchmark import peer
from panoptic_ros.benchmark.report import peer_line, peer_records

SMALLER = {'embed_dim': 12, 'depths': [1, 1, 1, 1], 'num_heads': [1, 1, 2, 2]}


def test_both_networks_run_in_turn(tmp_path, monkeypatch):
    torch = pytest.importorskip('torch')
    pytest.importorskip('transformers')
    monkeypatch.setattr(peer, 'SWIN_T', {**peer.SWIN_T, **SMALLER})
    threads = torch.get_num_threads()
    times = peer.time_peer(with_matrix_products(tmp_path / 'm.onnx', 2, 2), 0.01)
    assert torch.get_num_threads() == threads
    assert len(times.own_ms) == len(times.peer_ms) == peer.LEAST_ROUNDS
    assert times.ratio == np.median(times.peer_ms / times.own_ms) > 1
    line = peer_line(times)
    assert line.startswith('network alone at 64x128') and line.endswith('times as long')
    own, other = peer_records(times)
    assert own['model'] == 'tiny' and other['model'] == peer.PEER
    assert 0 < own['p50_ms'] < other['p50_ms'] <= other['p95_ms']


def test_a_network_without_a_named_end_is_refused(tiny_model):
    with pytest.raises(ValueError, match='does not name the end of its network; take'):
        peer.time_peer(tiny_model, 0.01)
