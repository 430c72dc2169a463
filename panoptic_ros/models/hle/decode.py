# SPDX-License-Identifier: Apache-2.0
"""Decoding of HLE (section 3.5) as tensor code that exports.

It works on log-probabilities: the kernel exp(-d/(2 sigma^2) - r^2/(2 sigma_sp^2)) is the
exponential of a linear function of `[e, rho, rho^2, 1]`, so that one matrix product compares all
seeds with all cells.

A table of cells has D + 6 numbers per cell: the embedding e, the position rho = (x, y), rho^2,
1, and the deviations sigma and sigma_sp.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from panoptic_ros.models.base import SegmentTensors
from panoptic_ros.models.config import NEVER
from panoptic_ros.models.hle.config import HLEConfig
from panoptic_ros.models.parts.nms import greedy_keep
from panoptic_ros.models.parts.peaks import best_match, find_peaks
from panoptic_ros.models.parts.segments import measure, row_slices, take, to_segments, valid_rows

LOG_SIGMA_LIMIT = 7.0
"""Log deviations are limited to plus or minus this value, in the loss too, so that 1 / sigma^2 and
its product with a distance stay finite in float32."""

PEAKS_PER_ROW = 4
"""Peaks that are looked at for each row of the table."""

REPEATED = 0.9
"""Phi of a better peak from which on a peak repeats it; far above `merge_threshold`."""


def bounded_sigma(log_sigma: Tensor) -> Tensor:
    """Return the deviation sigma, its logarithm limited to plus or minus LOG_SIGMA_LIMIT."""
    return log_sigma.clamp(-LOG_SIGMA_LIMIT, LOG_SIGMA_LIMIT).exp()


def class_logits(embedding: Tensor, semantic_mean: Tensor, semantic_log_sigma: Tensor) -> Tensor:
    """Compute the logits whose softmax is psi (Eq. 9): -d(e, mu_k) / (2 sigma_k^2).

    Args:
        embedding: unit length over D, (D, h, w).
        semantic_mean: class means of unit length, (C, D).
        semantic_log_sigma: (C,).

    Returns:
        (C, h, w)
    """
    sharpness = 0.5 / bounded_sigma(semantic_log_sigma).square()  # (C,)
    cosine = (semantic_mean @ embedding.flatten(1)).view(-1, *embedding.shape[1:])
    return (cosine - 1) * sharpness[:, None, None]


def cell_table(
    embedding: Tensor, log_sigma: Tensor, spatial_log_sigma: Tensor, step: float
) -> Tensor:
    """Return the table of all cells, transposed.

    Args:
        embedding: unit length over D, (D, h, w).
        log_sigma: (h, w).
        spatial_log_sigma: (h, w).
        step: distance of two cells, in units of position.

    Returns:
        (D + 6, h * w)
    """
    height, width = log_sigma.shape
    x = (torch.arange(width, device=embedding.device) * step)[None].expand(height, width)
    y = (torch.arange(height, device=embedding.device) * step)[:, None].expand(height, width)
    sigmas = bounded_sigma(torch.stack([log_sigma, spatial_log_sigma]))
    rest = torch.stack([x, y, x.square() + y.square(), torch.ones_like(x)])
    return torch.cat([embedding, rest, sigmas]).flatten(1)


def kernel_weights(seed: Tensor) -> Tensor:
    """Compute the kernels' weights: `weights @ [e, x, y, rho^2, 1]` is log Phi(seed, cell).

    Args:
        seed: table of the seeds, (K, D + 6); its rho^2 is not used.

    Returns:
        (K, D + 4)
    """
    dim = seed.shape[1] - 6
    embedding, position, _, sigma = seed.split([dim, 2, 2, 2], dim=1)
    sharpness, spatial = (1 / sigma.square()).split(1, dim=1)
    square = position.square().sum(dim=1, keepdim=True)
    factor = seed.new_tensor([0.5] * dim + [1, 1, -0.5, -0.5])
    return factor * torch.cat(
        [sharpness * embedding, spatial * position, spatial, sharpness + spatial * square], dim=1
    )


def only(chosen: Tensor, weights: Tensor) -> Tensor:
    """Replace the weights of all other kernels by those of a kernel without cells.

    Args:
        chosen: (K,) bool.
        weights: (K, D + 4).
    """
    nothing = weights.new_tensor([0.0] * (weights.shape[1] - 1) + [NEVER])
    return torch.where(chosen[:, None], weights, nothing)


def best_seeds(logit: Tensor, peak: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
    """Choose the best peaks, without those that repeat a better one (inferred).

    Large instances have many peaks, which would take the rows of small instances.

    Args:
        logit: in descending order, (P,).
        peak: table of the peaks, (P, D + 6).
        top_k: K, the number of rows.

    Returns:
        The logits in descending order, NEVER in rows without a peak, (K,), and the table of the
        seeds, (K, D + 6).
    """
    features, _ = peak.split([peak.shape[1] - 2, 2], dim=1)
    row = torch.arange(logit.shape[0], device=logit.device)
    log_phi = torch.where(row[:, None] < row, kernel_weights(peak) @ features.T, NEVER)
    repeats = log_phi.amax(dim=0) > math.log(REPEATED)
    best, order = torch.where(repeats, NEVER, logit).topk(min(top_k, logit.shape[0]))
    return best, peak.index_select(0, order)


def refine(seed: Tensor, alive: Tensor, cells: Tensor, log_threshold: Tensor) -> Tensor:
    """Replace each seed by the mean over the mask that it finds (inferred).

    The loss trains the kernel around the means over an instance (Eq. 7). A seed is a single
    cell, and two cells of an instance are further apart than a cell and the mean.

    Args:
        seed: table of the seeds, (K, D + 6).
        alive: seeds that matter, (K,) bool; the others get meaningless values.
        cells: transposed table of the cells, (D + 6, N).
        log_threshold: least log-probability of a cell in a mask, ().

    Returns:
        (K, D + 6), with embeddings of unit length.
    """
    dim = cells.shape[0] - 6
    features, weights = cells.split([dim + 4, 2])[0], only(alive, kernel_weights(seed))
    means = []
    for rows in row_slices(weights.shape[0], cells.shape[1]):
        mask = (take(weights, rows) @ features > log_threshold).to(cells.dtype)
        total = mask @ cells.T  # (chunk, D + 6)
        embedding, position, count, sigma = total.split([dim, 3, 1, 2], dim=1)
        # A narrow kernel may exclude its own seed; its deviation must not be 0.
        others = torch.cat([position, count, sigma.clamp(min=1e-6)], dim=1) / count.clamp(min=1)
        means.append(torch.cat([F.normalize(embedding, dim=1), others], dim=1))
    return torch.cat(means)


def decode(
    embedding: Tensor,
    log_sigma: Tensor,
    seed_logits: Tensor,
    class_logits: Tensor,
    spatial_log_sigma: Tensor,
    is_thing: Tensor,
    stuff_embedding: Tensor,
    config: HLEConfig,
    thresholds: dict[str, Tensor],
) -> SegmentTensors:
    """Group the maps of one image: rows 0 to K - 1 are instances, then one row per class.

    Args:
        embedding: unit length, (D, h, w).
        log_sigma: (h, w).
        seed_logits: (h, w).
        class_logits: logits of psi, (C, h, w).
        spatial_log_sigma: (h, w).
        is_thing: (C,) bool.
        stuff_embedding: embedding of the row of each class, (C, D).
        config: supplies lengths and K.
        thresholds: scalars by name, see `HLEConfig.thresholds`.
    """
    num_classes, height, width = class_logits.shape
    dim = embedding.shape[0]
    psi = class_logits.flatten(1).T.softmax(dim=1)  # (N, C): classes on the dense axis, for speed
    class_prob, cell_class = psi.max(dim=1)
    thing_cell = is_thing.index_select(0, cell_class)

    candidates = torch.where(thing_cell.view(height, width), seed_logits, NEVER)
    peak_logit, place = find_peaks(
        candidates[None], config.seed_window, PEAKS_PER_ROW * config.top_k
    )
    cells = cell_table(
        embedding, log_sigma, spatial_log_sigma, config.stride / config.position_scale
    )
    seed_logit, seed = best_seeds(peak_logit, cells.index_select(1, place).T, config.top_k)
    num_seeds = seed.shape[0]
    seed_features = seed.split([dim + 4, 2], dim=1)[0]
    log_mask_threshold = torch.log(thresholds['mask_threshold'])
    score = torch.sigmoid(seed_logit)
    alive = score > thresholds['score_threshold']
    for _ in range(config.refine):
        seed = refine(seed, alive, cells, log_mask_threshold)
    weights = kernel_weights(seed)
    similar = weights @ seed_features.T > torch.log(thresholds['merge_threshold'])
    keep = greedy_keep(similar, alive)

    best, row = best_match(cells.split([dim + 4, 2])[0].T, only(keep, weights))
    is_instance = best > log_mask_threshold.clamp(min=NEVER / 2)
    is_stuff = ~thing_cell & (class_prob > thresholds['stuff_threshold'])
    row_map = (
        torch.where(is_instance, row + 1, torch.where(is_stuff, cell_class + (num_seeds + 1), 0))
        .view(height, width)
        .to(torch.int32)
    )

    measures = measure(row_map, num_seeds + num_classes, psi.view(height, width, num_classes))
    classes = torch.arange(num_classes, device=psi.device)
    instance_psi, stuff_psi = measures.mean.split([num_seeds, num_classes])
    return to_segments(
        row_map,
        measures,
        valid=valid_rows(measures, keep, is_thing, config.stride, thresholds),
        # The whole mask votes for its class: one seed cell is often wrong (inferred).
        class_id=torch.cat([torch.where(is_thing, instance_psi, -1.0).argmax(dim=1), classes]),
        score=torch.cat([score, stuff_psi.gather(1, classes[:, None]).squeeze(1)]),
        embedding=torch.cat([seed.split([dim, 6], dim=1)[0], stuff_embedding]),
        confidence=torch.where(is_instance, best.exp(), class_prob).view(height, width),
    )
