# SPDX-License-Identifier: Apache-2.0
"""Settings of the tracker."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class TrackerConfig:
    """How segments of one image are told to be those of the last; `tracker.*` of the node.

    Times are seconds of the image stamps, so that all means the same at any rate. The defaults
    are tuned on the synthetic city's validation streets (`panoptic tune-tracker`).
    """

    max_age: float = 1.5
    """Seconds that a track lives on after it was last seen, and can be found again. Two images
    further apart than this share no track."""

    min_hits: int = 3
    """Images that a track must be seen in, without a miss, to be confirmed."""

    embedding_weight: float = 0.35
    """Weight of the embeddings' distance in the cost of a match."""

    iou_weight: float = 1.0
    """Weight of missing overlap, 1 - IoU, in the cost of a match. With 0 a thing may turn up
    anywhere in the next image."""

    gate: float = 0.65
    """A match must cost less. The cost is the weighted mean of both distances, 0 to 1."""

    class_cost: float = 0.3
    """Added to the cost for another class than all that the track was before; less where the
    track was voted to be of this class too. With 1 no track changes its class."""

    high_score: float = 0.0
    """Segments with this score choose their tracks first; weaker ones take what is left."""

    weak_gate: float = 0.55
    """The gate of weak segments."""

    new_score: float = 0.0
    """Segments with a lower score that match no track stay untracked: none starts with them."""

    tentative_age: float = 0.3
    """Seconds that a track that is not confirmed lives on after it was last seen; 0: it ends at
    its first miss."""

    reid_gate: float = 0.25
    """Segments and tracks left over match by embedding alone where its distance, and the class's
    cost, are less than this; 0: never."""

    reid_reach: float = 1.0
    """They must be no further apart than this times the thing's size per second unseen."""

    near_factor: float = 2.8
    """Boxes are made larger by this before they are compared, to find fast things again; 1: they
    are compared as they are."""

    near_growth: float = 1.5
    """Added to `near_factor` for each second that a track was not seen: the longer, the less is
    known where it went."""

    min_overlap: float = 0.02
    """Things with less overlap are not matched, however alike: few things jump, many look
    alike."""

    velocity_s: float = 0.2
    """Seconds over which a track's velocity is averaged."""

    embedding_s: float = 0.2
    """Seconds over which a track's embedding, and how much it varies, are averaged."""

    embedding_spread: float = 0.004
    """Cosine distance that an embedding is expected to vary by before a track has shown its
    own."""

    spread_factor: float = 3.0
    """Multiples of a track's own spread at which the embeddings' distance, 1 - exp(-distance /
    (factor * spread)), is 0.63."""

    class_s: float = 1.0
    """Seconds over which a track's classes are voted, weighted by score."""

    smooth: bool = False
    """Things get the class that their track was voted, and the score averaged over `class_s`."""

    def __post_init__(self) -> None:
        for name in (
            'max_age',
            'velocity_s',
            'embedding_s',
            'embedding_spread',
            'spread_factor',
            'class_s',
        ):
            self._check(name, 'over 0', self._value(name) > 0)
        for name in (
            'embedding_weight',
            'iou_weight',
            'class_cost',
            'high_score',
            'new_score',
            'tentative_age',
            'reid_reach',
            'near_growth',
            'min_overlap',
        ):
            self._check(name, '0 or more', self._value(name) >= 0)
        for name in ('gate', 'weak_gate'):
            self._check(name, 'over 0 and at most 1', 0 < self._value(name) <= 1)
        self._check('reid_gate', '0 to 1', 0 <= self.reid_gate <= 1)
        self._check('near_factor', '1 or more', self.near_factor >= 1)
        self._check('min_hits', '1 or more images', self.min_hits >= 1)
        if self.embedding_weight + self.iou_weight == 0:
            raise ValueError('tracker.embedding_weight and tracker.iou_weight must not both be 0')

    def _value(self, name: str) -> float:
        value: float = getattr(self, name)
        return value if math.isfinite(value) else -1.0

    def _check(self, name: str, expected: str, good: bool) -> None:
        value = getattr(self, name)
        if not good or not math.isfinite(value):
            raise ValueError(f'tracker.{name} must be {expected}, got {value}')
