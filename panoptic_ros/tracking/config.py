"""Settings of the tracker."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class TrackerConfig:
    """How segments of one image are told to be those of the last; `tracker.*` of the node."""

    max_age: float = 1.0
    """Seconds that a track lives on after it was last seen; by image stamps, so that it means
    the same at any rate. Two images further apart than this share no track."""

    min_hits: int = 3
    """Images that a track must be seen in, without a miss, to be confirmed."""

    embedding_weight: float = 1.0
    """Weight of the embedding's cosine distance in the cost of a match."""

    iou_weight: float = 1.0
    """Weight of missing overlap, 1 - IoU, in the cost of a match. With 0 a thing may turn up
    anywhere in the next image."""

    gate: float = 0.5
    """A match must cost less. The cost is the weighted mean of both distances, 0 to 1."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.max_age) and self.max_age > 0):
            raise ValueError(f'tracker.max_age must be over 0 seconds, got {self.max_age}')
        if self.min_hits < 1:
            raise ValueError(f'tracker.min_hits must be 1 or more images, got {self.min_hits}')
        for name in ('embedding_weight', 'iou_weight'):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f'tracker.{name} must be 0 or more, got {value}')
        if self.embedding_weight + self.iou_weight == 0:
            raise ValueError('tracker.embedding_weight and tracker.iou_weight must not both be 0')
        if not 0 < self.gate <= 1:
            raise ValueError(f'tracker.gate must be over 0 and at most 1, got {self.gate}')
