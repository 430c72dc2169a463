# SPDX-License-Identifier: Apache-2.0
"""Order of samples: once per epoch, by seed, shared by processes, the same after a resume."""

import numpy as np
import pytest
import torch
from tiny_model import LABELS

from panoptic_training.data.augment import Augment, AugmentConfig
from panoptic_training.data.sample import Sample
from panoptic_training.trainer.sampler import (
    EpochSampler,
    FixedSamples,
    TrainingLoader,
    TrainingSamples,
)


class Numbered:
    """Samples of 8 x 8 pixels whose first instance id is their index plus one."""

    labels = LABELS

    def __init__(self, length):
        self.length = length

    def __len__(self):
        return self.length

    def order(self, rng):
        return rng.permutation(self.length)

    def read(self, index, epoch_seed):
        return Sample(
            np.full((8, 8, 3), epoch_seed % 251, np.uint8),
            np.full((8, 8), 2, np.uint8),
            np.full((8, 8), index + 1, np.int32),
        )


def drawn(sampler, epoch):
    sampler.set_epoch(epoch)
    return list(sampler)


def test_each_sample_comes_once_an_epoch_in_an_order_of_its_own():
    sampler = EpochSampler(Numbered(12), seed=3)
    epochs = [drawn(sampler, epoch) for epoch in range(3)]
    for epoch in epochs:
        assert sorted(index for index, _ in epoch) == list(range(12))
        assert len({seed for _, seed in epoch}) == 1, 'one seed for all of an epoch'
    assert len({tuple(index for index, _ in epoch) for epoch in epochs}) == 3
    assert len({epoch[0][1] for epoch in epochs}) == 3
    assert drawn(sampler, 1) == epochs[1] == drawn(EpochSampler(Numbered(12), seed=3), 1)
    assert drawn(EpochSampler(Numbered(12), seed=4), 1) != epochs[1]


@pytest.mark.parametrize(('length', 'world'), [(12, 2), (13, 3), (5, 1)])
def test_processes_share_the_samples(length, world):
    parts = [EpochSampler(Numbered(length), 0, rank, world) for rank in range(world)]
    assert {len(part) for part in parts} == {length // world}
    shares = [[index for index, _ in part] for part in parts]
    assert {len(share) for share in shares} == {length // world}
    together = [index for share in shares for index in share]
    assert len(set(together)) == len(together) == length // world * world


@pytest.mark.parametrize('done', [0, 4, 9, 12])
def test_a_resumed_epoch_gives_what_is_still_to_come(done):
    whole, resumed = EpochSampler(Numbered(12), 1), EpochSampler(Numbered(12), 1)
    resumed.resume(epoch=2, samples=done)
    assert len(resumed) == 12, 'the epoch is as long as ever'
    assert list(resumed) == drawn(whole, 2)[done:]  # before set_epoch is called
    assert drawn(resumed, 2) == drawn(whole, 2)[done:]
    assert drawn(resumed, 3) == drawn(whole, 3)


def make_loader(progress=(0, 0), **options):
    reader = Numbered(9)
    augment = Augment(AugmentConfig(), (8, 8), (8, 8))
    return TrainingLoader(
        TrainingSamples(reader, augment), EpochSampler(reader, 5), lambda: progress, 2, **options
    )


def indices(loader):
    return [batch.instance_map.amax(dim=(1, 2)).tolist() for batch in loader]


def test_the_loader_goes_on_from_its_state():
    assert len(make_loader()) == 4, 'the ninth sample fills no batch'
    whole = make_loader()
    whole.sampler.set_epoch(6)
    expected = list(whole)
    resumed = make_loader()
    resumed.load_state_dict(make_loader((6, 1)).state_dict())
    found = list(resumed)
    assert len(found) == 3
    for one, other in zip(found, expected[1:], strict=True):
        assert same(one, other)
    assert len(list(resumed)) == 3  # Lightning starts the iterator once before the epoch
    resumed.sampler.set_epoch(7)
    whole.sampler.set_epoch(7)
    assert indices(resumed) == indices(whole)


def same(one, other):
    """Return whether two batches are equal, including missing maps."""
    return all(a is b is None or torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_workers_change_nothing():
    alone, helped = list(make_loader()), list(make_loader(num_workers=1))
    for one, other in zip(alone, helped, strict=True):
        assert same(one, other)


def test_a_draw_fixes_its_sample():
    samples = TrainingSamples(Numbered(4), Augment(AugmentConfig(), (8, 8), (8, 8)))
    one = samples[2, 77]
    samples[1, 77], samples[2, 78]
    again = samples[2, 77]
    assert all(torch.equal(a, b) for a, b in zip(one, again, strict=True))
    assert not torch.equal(samples[2, 78][0], one[0])


@pytest.mark.parametrize('world', [1, 2, 3])
def test_validation_takes_every_sample_once_and_as_it_is(world):
    seen = []
    for rank in range(world):
        samples = FixedSamples(Numbered(7), rank, world)
        seen += [int(samples[i].instance_map[0, 0]) - 1 for i in range(len(samples))]
        assert {int(samples[i].image[0, 0, 0]) for i in range(len(samples))} == {0}
    assert sorted(seen) == list(range(7))
