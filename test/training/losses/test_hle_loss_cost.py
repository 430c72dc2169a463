# SPDX-License-Identifier: Apache-2.0
"""Time and memory of HLE's loss at the full size of Cityscapes; `-m slow -s` prints them."""

import json
import math
import resource
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from panoptic_training.losses.hle import HLELossConfig, hle_loss
from panoptic_training.losses.parts.hle_kernel import kernel_loss
from panoptic_training.losses.parts.instances import find_instances
from panoptic_training.losses.parts.lovasz import lovasz_binary

HEIGHT, WIDTH, DIM, CLASSES, CELL = 1024, 2048, 12, 19, 1 / 1024


def street(instances):
    """Make a map (1, H, W) of things of many sizes, smaller ones in front of larger ones."""
    rng = np.random.default_rng(0)
    instance_map = torch.zeros(1, HEIGHT, WIDTH, dtype=torch.int64)
    heights = np.exp(rng.uniform(np.log(20), np.log(400), instances)).astype(int)
    for i, height in enumerate(np.sort(heights)[::-1]):
        y, x = int(rng.uniform(0, HEIGHT - height)), int(rng.uniform(0, WIDTH - 2 * height))
        instance_map[0, y : y + height, x : x + 2 * height] = i + 1
    assert len(instance_map.unique()) == instances + 1
    return instance_map


def inputs(instance_map, noise):
    generator = torch.Generator().manual_seed(0)
    means = F.normalize(torch.randn(200, DIM, generator=generator), dim=1)
    embedding = means[instance_map + 100].movedim(-1, 1)
    embedding = embedding + noise * torch.randn(embedding.shape, generator=generator)
    return F.normalize(embedding, dim=1).contiguous().requires_grad_()


def instances_in_windows(instance_map, noise):
    embedding, found = inputs(instance_map, noise), find_instances(instance_map)
    mean = torch.stack(
        [F.normalize(embedding[0][:, instance_map[0] == i.id].mean(1), dim=0) for i in found]
    ).detach()
    start, each = time.perf_counter(), torch.ones(len(found))
    loss, _ = kernel_loss(
        embedding,
        mean,
        each * 5.0,
        each / (2 * 0.05**2),
        each / len(found),
        found,
        instance_map,
        CELL,
    )
    loss.backward()
    return loss.item(), time.perf_counter() - start


def instances_densely(instance_map, noise):
    """Compute every instance against every pixel by autograd."""
    embedding, found = inputs(instance_map, noise), find_instances(instance_map)
    mean = torch.stack(
        [F.normalize(embedding[0][:, instance_map[0] == i.id].mean(1), dim=0) for i in found]
    ).detach()
    start, losses = time.perf_counter(), []
    y, x = torch.arange(HEIGHT)[:, None], torch.arange(WIDTH)
    for i, m in zip(found, mean, strict=True):
        square = ((y - i.center_yx[0]) ** 2 + (x - i.center_yx[1]) ** 2) * CELL**2
        phi = torch.exp(
            5 * (torch.einsum('d,dyx->yx', m, embedding[0]) - 1) - square / (2 * 0.05**2)
        ).flatten()
        target = (instance_map[0] == i.id).flatten()
        error, order = torch.where(target, 1 - phi, phi).sort(descending=True)
        hit = target[order].double()
        jaccard = 1 - (hit.sum() - hit.cumsum(0)) / (hit.sum() + (1 - hit).cumsum(0))
        losses.append((error * jaccard.diff(prepend=jaccard.new_zeros(1)).float()).sum())
    loss = torch.stack(losses).mean()
    loss.backward()
    return loss.item(), time.perf_counter() - start


def whole_loss(instance_map, noise):
    embedding, class_map = inputs(instance_map, noise), (instance_map > 0) * 11
    class_map[:, HEIGHT // 2 :] += 1
    maps = [torch.zeros(1, HEIGHT, WIDTH, requires_grad=True) for _ in range(2)]
    parameters = [
        torch.tensor(math.log(0.05)),
        F.normalize(torch.randn(CLASSES, DIM), dim=1),
        torch.full((CLASSES,), -1.2),
    ]
    start = time.perf_counter()
    loss = hle_loss(
        embedding,
        maps[0] - 1,
        maps[1],
        None,
        *(p.requires_grad_() for p in parameters),
        class_map,
        instance_map,
        torch.arange(CLASSES) >= 11,
        CELL,
        HLELossConfig(),
    )['loss']
    loss.backward()
    return loss.item(), time.perf_counter() - start


def measure(function, instances, noise=0.3):
    """Return (loss, seconds, peak memory of the process in GiB), on one thread."""
    torch.set_num_threads(1)
    loss, seconds = function(street(instances), noise)
    return loss, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def in_fresh_process(function, instances):
    """Run `measure` in a process of its own, so that nothing else has raised the peak."""
    command = [sys.executable, __file__, function.__name__, str(instances)]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_sixty_instances_at_full_size_fit_in_memory():
    figures = {
        'windows, 60 instances': in_fresh_process(instances_in_windows, 60),
        'windows, 6 instances': in_fresh_process(instances_in_windows, 6),
        'dense, 6 instances': in_fresh_process(instances_densely, 6),
        'whole loss, 60 instances': in_fresh_process(whole_loss, 60),
    }
    for name, (loss, seconds, gib) in figures.items():
        print(f'{name:26} loss {loss:.6f}  {seconds:6.2f} s  {gib:5.2f} GiB')
    assert figures['windows, 6 instances'][0] == pytest.approx(
        figures['dense, 6 instances'][0], rel=1e-5
    )
    few, many = figures['windows, 6 instances'][2], figures['windows, 60 instances'][2]
    assert many < few + 0.2  # no maps of an instance are kept
    assert figures['whole loss, 60 instances'][2] < 4


@pytest.mark.parametrize('noise', [0.1, 0.3, 3.0])  # learned, halfway, untrained
def test_windows_and_small_errors_left_out_change_the_loss_below_1e_5(noise):
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:96, :160]
    target = torch.tensor((abs(y - 40) < 12) & (abs(x - 70) < 20))
    cosine = np.where(target, 1, 0.2) - noise * abs(rng.normal(size=target.shape))
    phi = torch.tensor(np.exp(5 * (cosine - 1) - ((y - 40) ** 2 + (x - 70) ** 2) / (2 * 13**2)))
    phi = phi.clamp(max=1).flatten()
    exact = lovasz_binary(phi, target.flatten(), min_error=0.0).item()
    assert lovasz_binary(phi, target.flatten()).item() == pytest.approx(exact, rel=1e-5)


if __name__ == '__main__':
    print(json.dumps(measure(globals()[sys.argv[1]], int(sys.argv[2]))))
