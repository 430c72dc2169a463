# SPDX-License-Identifier: Apache-2.0
"""Class logits and class means of HLE."""

import pytest
import torch
from torch.nn import functional as F

from panoptic_training.losses.hle import psi_logits, segment_mean_loss

VOID = 255


def batch():
    generator = torch.Generator().manual_seed(0)
    embedding = F.normalize(torch.randn(2, 5, 4, 6, generator=generator), dim=1)
    class_map = torch.randint(0, 2, (2, 4, 6), generator=generator)
    class_map[0], class_map[1, 0] = 0, VOID  # class 1 in the second image only, class 2 nowhere
    return F.normalize(torch.randn(3, 5, generator=generator), dim=1), embedding, class_map


def test_psi_logits_are_scaled_cosine_distances():
    mean, embedding, _ = batch()
    log_sigma = torch.tensor([-1.0, 0.0, 0.5])
    logits = psi_logits(embedding, mean, log_sigma)
    for b, k, y, x in ((0, 0, 0, 0), (1, 2, 3, 5), (0, 1, 2, 4)):
        distance = 1 - embedding[b, :, y, x] @ mean[k]
        expected = -distance / (2 * log_sigma[k].exp() ** 2)
        assert logits[b, k, y, x].item() == pytest.approx(expected.item(), abs=1e-6)


def test_batch_means_use_the_batches_of_all_processes(monkeypatch):
    mean, embedding, class_map = batch()
    whole = segment_mean_loss(mean, embedding, class_map)
    alone = segment_mean_loss(mean, embedding[:1], class_map[:1])
    assert alone.item() != pytest.approx(whole.item(), rel=1e-2)

    # Two processes with one image each: record what one sends, then add it in the other.
    sent = []
    monkeypatch.setattr(torch.distributed, 'is_initialized', lambda: True)
    monkeypatch.setattr(torch.distributed, 'all_reduce', lambda x: sent.append(x.clone()))
    segment_mean_loss(mean, embedding[1:], class_map[1:])
    monkeypatch.setattr(torch.distributed, 'all_reduce', lambda x: x.add_(sent.pop(0)))
    together = segment_mean_loss(mean, embedding[:1], class_map[:1])
    assert together.item() == pytest.approx(whole.item(), rel=1e-5)
    assert sent == []
