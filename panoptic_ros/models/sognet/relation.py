# SPDX-License-Identifier: Apache-2.0
"""SOGNet's relational embedding and overlap resolving.

Yang et al., SOGNet: Scene Overlap Graph Network for Panoptic Segmentation, AAAI 2020.
"""

from collections.abc import Collection

import torch
from torch import Tensor, nn


class RelationModule(nn.Module):
    """Relations of N instances, which one covers which: O = relu(M - M^T), equations 1 to 5.

    Categories have no P of equation 1, as in the released code.

    Args:
        features: any of FEATURES.
        things: T, the number of thing classes.
        mask_bins: number of values of a mask.
        box_dim, category_dim, mask_dim: lengths of the features.
        box_relu: whether a ReLU follows K of equation 3, as in the released code.
    """

    def __init__(
        self,
        features: Collection[str],
        things: int,
        mask_bins: int,
        box_dim: int,
        category_dim: int,
        mask_dim: int,
        box_relu: bool = False,
    ) -> None:
        super().__init__()
        dim = 0
        if 'box' in features:
            self.box = nn.Linear(4, box_dim, bias=False)
            dim += box_dim
        if 'category' in features:
            self.category_subject = nn.Linear(things, category_dim, bias=False)
            self.category_object = nn.Linear(things, category_dim, bias=False)
            dim += category_dim
        if 'mask' in features:
            self.mask_subject = nn.Linear(mask_bins, mask_dim, bias=False)
            self.mask_object = nn.Linear(mask_bins, mask_dim, bias=False)
            self.mask_pair = nn.Linear(mask_dim, mask_dim, bias=False)
            dim += mask_dim
        self.features, self.box_relu = tuple(features), box_relu
        self.things = things
        self.potential = nn.Linear(dim, 1, bias=False)

    def forward(self, box: Tensor, thing: Tensor, mask: Tensor) -> Tensor:
        """Compute the relations of N instances of an image.

        Args:
            box: x1, y1, x2, y2, in any unit, (N, 4).
            thing: (N,) int64.
            mask: in [0, 1] on the box, (N, m, m).

        Returns:
            O (N, N) in [0, 1): [i, j] is above 0 if j covers i; then [j, i] is 0.
        """
        parts = []
        if 'mask' in self.features:
            flat = mask.flatten(1)
            pair = outer(self.mask_subject(flat), self.mask_object(flat))
            parts.append(self.mask_pair(pair))
        if 'category' in self.features:
            number = torch.arange(self.things, device=thing.device)
            one_hot = (thing[:, None] == number).to(box.dtype)
            parts.append(outer(self.category_subject(one_hot), self.category_object(one_hot)))
        if 'box' in self.features:
            place = self.box(geometry(box))
            parts.append(place.relu() if self.box_relu else place)
        potential = self.potential(torch.cat(parts, dim=-1))[..., 0].sigmoid()  # M, (N, N)
        return (potential - potential.T).relu()


def outer(subject: Tensor, other: Tensor) -> Tensor:
    """Compute the low-rank outer product (N, D), (N, D) -> (N, N, D), equation 1 before P."""
    return subject.relu()[:, None] * other.relu()[None]


def geometry(box: Tensor) -> Tensor:
    """Compute place and size of i relative to j, equation 3 before K: (N, 4) -> (N, N, 4).

    x and y are those of the centre, as in the released code. There, [i, j] is j relative to i,
    which is equivalent up to transposition.
    """
    size = (box[:, 2:] - box[:, :2]).clamp(min=1e-3)
    centre = (box[:, 2:] + box[:, :2]) / 2
    log = size.log()
    return torch.cat([(centre[:, None] - centre) / size, log[:, None] - log], dim=-1)


def significant_overlap(mask: Tensor, least: float) -> Tensor:
    """Find the pairs that share at least a given part of the smaller one, equation 11.

    Args:
        mask: 0 or 1, (N, P) float.
        least: least shared part of the smaller one's area.

    Returns:
        (N, N) bool, False on the diagonal and for empty masks.
    """
    area = mask.sum(dim=1)
    smaller = torch.minimum(area[:, None], area)
    place = torch.arange(mask.shape[0], device=mask.device)
    return (mask @ mask.T >= least * smaller) & (smaller > 0) & (place[:, None] != place)


def resolve(logits: Tensor, relation: Tensor) -> Tensor:
    """Subtract from each mask what others cover, equation 7, for all pairs at once.

    Args:
        logits: A, (N, h, w).
        relation: O, (N, N).

    Returns:
        A' = A - A s(A) sum_j s(A_j) O_ij, (N, h, w)
    """
    prob = logits.sigmoid()
    covered = (relation @ prob.flatten(1)).view_as(prob)
    return logits - logits * prob * covered


def resolve_pairwise(logits: Tensor, relation: Tensor) -> Tensor:
    """Apply equation 6 to one pair after the other.

    The order is inferred: what instance j covers is subtracted before what j + 1 covers. The
    released code takes pairs a < b instead, those with many partners first, and both masks of a
    pair at once.

    Args:
        logits: A, (N, h, w).
        relation: O, (N, N).

    Returns:
        (N, h, w)
    """
    for j in range(logits.shape[0]):
        prob = logits.sigmoid()
        logits = logits - logits * prob * prob[j] * relation[:, j, None, None]
    return logits


def instance_semantics(semantic_logits: Tensor, class_id: Tensor, inside: Tensor) -> Tensor:
    """Compute X: the logits of each instance's own class inside its box, 0 outside.

    Args:
        semantic_logits: (C, h, w).
        class_id: (N,) int64.
        inside: (N, h, w) bool.

    Returns:
        (N, h, w)
    """
    return semantic_logits.index_select(0, class_id) * inside


def instance_logits(semantics: Tensor, resolved: Tensor, head: int, factor: float) -> Tensor:
    """Compute Z of panoptic head 1 (equation 9) or 2 (equation 10).

    Args:
        semantics: X, (N, h, w).
        resolved: A', (N, h, w).
        head: 1 or 2.
        factor: k of equation 10.
    """
    if head == 1:
        return semantics + resolved
    return factor * semantics * resolved.sigmoid() + resolved


def void_logits(semantic_logits: Tensor, thing_class: Tensor, semantics: Tensor) -> Tensor:
    """Compute UPSNet's channel of things without an instance: max over things minus max over X.

    Args:
        semantic_logits: (C, h, w).
        thing_class: class ids of the thing classes, (T,).
        semantics: X, (N, h, w); its maximum is 0 if N is 0, as outside all boxes.

    Returns:
        (1, h, w)
    """
    best = semantic_logits.index_select(0, thing_class).amax(dim=0, keepdim=True)
    if semantics.shape[0] == 0:
        return best
    return best - semantics.amax(dim=0, keepdim=True)
