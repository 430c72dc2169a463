# SPDX-License-Identifier: Apache-2.0
"""Decoding of HLE (section 3.5) as tensor code that exports.

It works on log-probabilities: the kernel exp(-d/(2 sigma^2) - r^2/(2 sigma_sp^2)) is the
exponential of a linear function of `[e, rho, |rho|^2, 1]`, so that one matrix product compares all
seeds with all cells.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from panoptic_ros.models.base import SegmentTensors
from panoptic_ros.models.config import NEVER
from panoptic_ros.models.hle.config import HLEConfig
from panoptic_ros.models.parts.nms import greedy_keep
from panoptic_ros.models.parts.peaks import best_match, find_peaks
from panoptic_ros.models.parts.segments import ROW_CHUNK, measure, to_segments, valid_rows


def class_logits(embedding: Tensor, semantic_mean: Tensor, semantic_log_sigma: Tensor) -> Tensor:
    """Compute the logits whose softmax is psi (Eq. 9): -d(e, mu_k) / (2 sigma_k^2).

    Args:
        embedding: unit length over D, (D, h, w).
        semantic_mean: class means, (C, D).
        semantic_log_sigma: (C,).

    Returns:
        (C, h, w)
    """
    mean = F.normalize(semantic_mean, dim=1)
    sharpness = 0.5 * torch.exp(-2 * semantic_log_sigma)  # (C,)
    cosine = (mean @ embedding.flatten(1)).view(-1, *embedding.shape[1:])
    return (cosine - 1) * sharpness[:, None, None]


def kernel_features(embedding: Tensor, position: Tensor) -> Tensor:
    """Compute the cells' side of the kernel: `[e, x, y, |rho|^2, 1]`.

    Args:
        embedding: (N, D).
        position: (x, y), (N, 2).

    Returns:
        (N, D + 4)
    """
    square = position.square().sum(dim=1, keepdim=True)
    return torch.cat([embedding, position, square, torch.ones_like(square)], dim=1)


def kernel_weights(
    embedding: Tensor, position: Tensor, log_sigma: Tensor, spatial_log_sigma: Tensor
) -> Tensor:
    """Compute the seeds' side of the kernel: weights @ features = log Phi(seed, cell).

    Args:
        embedding: (K, D).
        position: (x, y), (K, 2).
        log_sigma: (K,).
        spatial_log_sigma: (K,).

    Returns:
        (K, D + 4)
    """
    sharpness = 0.5 * torch.exp(-2 * log_sigma)[:, None]
    spatial = 0.5 * torch.exp(-2 * spatial_log_sigma)[:, None]
    offset = -sharpness - spatial * position.square().sum(dim=1, keepdim=True)
    return torch.cat([sharpness * embedding, 2 * spatial * position, -spatial, offset], dim=1)


def refine(
    weights: Tensor, features: Tensor, sigma: Tensor, spatial_sigma: Tensor, log_threshold: Tensor
) -> tuple[Tensor, Tensor]:
    """Replace the kernel of each seed by that of the mask it finds (inferred).

    The loss trains the kernel around the means over an instance (Eq. 7). A seed is a single
    cell, and two cells of an instance are further apart than a cell and the mean.

    Args:
        weights: of the seeds, (K, D + 4).
        features: of the cells, (N, D + 4).
        sigma: deviation of each cell, (N,).
        spatial_sigma: (N,).
        log_threshold: least log-probability of a cell in a mask, ().

    Returns:
        The mean embedding of unit length (K, D), and the new kernels' weights (K, D + 4).
    """
    dim = features.shape[1] - 4
    known = torch.cat([features, sigma[:, None], spatial_sigma[:, None]], dim=1)  # (N, D + 6)
    means = []
    for first in range(0, weights.shape[0], ROW_CHUNK):
        part = weights[first : first + ROW_CHUNK]
        total = (part @ features.T > log_threshold).to(known.dtype) @ known  # (chunk, D + 6)
        means.append(total / total[:, dim + 3 : dim + 4].clamp(min=1))  # the ones count the cells
    mean = torch.cat(means)
    embedding = F.normalize(mean[:, :dim], dim=1)
    # The clamp keeps the deviation finite if a narrow kernel excludes its own seed.
    log_sigma, spatial_log_sigma = mean[:, -2:].clamp(min=1e-6).log().unbind(1)
    return embedding, kernel_weights(
        embedding, mean[:, dim : dim + 2], log_sigma, spatial_log_sigma
    )


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
    logits = class_logits.reshape(num_classes, -1)
    psi = torch.softmax(logits, dim=0)  # (C, N)
    class_prob, cell_class = psi.max(dim=0)  # (N,)
    thing_cell = is_thing.index_select(0, cell_class)

    candidates = torch.where(thing_cell.view(height, width), seed_logits, NEVER)
    seed_logit, seed = find_peaks(candidates[None], config.seed_window, config.top_k)
    num_seeds = seed.shape[0]
    y, x = torch.meshgrid(
        torch.arange(height, device=logits.device),
        torch.arange(width, device=logits.device),
        indexing='ij',
    )
    position = torch.stack([x, y], dim=-1).reshape(-1, 2) * (config.stride / config.position_scale)
    cell_embedding = embedding.reshape(embedding.shape[0], -1).T  # (N, D)
    features = kernel_features(cell_embedding, position)
    seed_embedding = cell_embedding.index_select(0, seed)
    weights = kernel_weights(
        seed_embedding,
        position.index_select(0, seed),
        log_sigma.reshape(-1).index_select(0, seed),
        spatial_log_sigma.reshape(-1).index_select(0, seed),
    )
    for _ in range(config.refine):
        seed_embedding, weights = refine(
            weights,
            features,
            log_sigma.reshape(-1).exp(),
            spatial_log_sigma.reshape(-1).exp(),
            torch.log(thresholds['mask_threshold']),
        )
    score = torch.sigmoid(seed_logit)
    alive = (score > thresholds['score_threshold']) & (seed_logit > NEVER / 2)
    similar = weights @ features.index_select(0, seed).T > torch.log(thresholds['merge_threshold'])
    keep = greedy_keep(similar, alive)

    nothing = F.pad(weights.new_full((num_seeds, 1), NEVER), (weights.shape[1] - 1, 0))
    best, row = best_match(features, torch.where(keep[:, None], weights, nothing))
    is_instance = (best > torch.log(thresholds['mask_threshold'])) & (best > NEVER / 2)
    is_stuff = ~thing_cell & (class_prob > thresholds['stuff_threshold'])
    row_map = (
        torch.where(is_instance, row + 1, torch.where(is_stuff, cell_class + (num_seeds + 1), 0))
        .view(height, width)
        .to(torch.int32)
    )

    measures = measure(row_map, num_seeds + num_classes, psi.T.view(height, width, num_classes))
    classes = torch.arange(num_classes, device=logits.device)
    instance_psi, stuff_psi = measures.mean.split([num_seeds, num_classes])
    return to_segments(
        row_map,
        measures,
        valid=valid_rows(measures, keep, is_thing, config.stride, thresholds),
        # The whole mask votes for its class: one seed cell is often wrong (inferred).
        class_id=torch.cat([torch.where(is_thing, instance_psi, -1.0).argmax(dim=1), classes]),
        score=torch.cat([score, stuff_psi.gather(1, classes[:, None])[:, 0]]),
        embedding=torch.cat([seed_embedding, stuff_embedding]),
    )
