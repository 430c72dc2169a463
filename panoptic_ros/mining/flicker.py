# SPDX-License-Identifier: Apache-2.0
"""Evidence of the tracker that a model wavers: changes of class, short tracks, changes of id."""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from panoptic_ros.core.frame import PanopticFrame

SHORT_FRAMES = 3
"""Tracks of fewer frames are short."""

SWITCH_S = 1.0
"""Longest time between the end of a track and the start of its successor, seconds."""

SWITCH_IOU = 0.3
"""Smallest IoU of their boxes."""


@dataclass
class _Track:
    """History of a track."""

    class_id: int
    first: int
    """Index of its first frame, as of `last`."""
    last: int
    last_s: float
    box: tuple[float, ...]
    """x, y, width, height, px."""
    frames: int = 1


class Flicker:
    """Events of the tracks of one camera, by the index of the frame."""

    def __init__(self) -> None:
        self._tracks: dict[int, _Track] = {}
        self._events: list[Counter[str]] = []
        self._things: list[int] = []

    def update(self, raw: PanopticFrame, tracked: PanopticFrame) -> None:
        """Add the next frame.

        Args:
            raw: result of the model, whose classes are those of this frame alone.
            tracked: the same frame with track ids.
        """
        index, events = len(self._events), Counter[str]()
        self._events.append(events)
        class_of = raw.class_of_segment
        rows = tracked.segments[tracked.segments['track_id'] > 0]
        seen = set(rows['track_id'].tolist())
        self._things.append(len(rows))
        for row in rows:
            track_id, class_id = int(row['track_id']), class_of[int(row['segment_id'])]
            box = tuple(float(row[f'bbox_{name}']) for name in 'xywh')
            track = self._tracks.get(track_id)
            if track is None:
                if any(
                    other_id not in seen
                    and other.class_id == class_id
                    and tracked.stamp_s - other.last_s <= SWITCH_S
                    and _iou(other.box, box) >= SWITCH_IOU
                    for other_id, other in self._tracks.items()
                ):
                    events['id change'] += 1
                self._tracks[track_id] = _Track(class_id, index, index, tracked.stamp_s, box)
                continue
            events['class change'] += class_id != track.class_id
            track.class_id, track.last, track.last_s = class_id, index, tracked.stamp_s
            track.box, track.frames = box, track.frames + 1

    def finish(self) -> list[tuple[float, dict[str, int]]]:
        """Return for each frame the flicker, 0 to 1, and its events by name.

        The flicker is the number of events per thing. A short track is an event of its first
        frame; tracks that reach to the first or the last frame may be longer than they appear.
        """
        end = len(self._events) - 1
        for track in self._tracks.values():
            if track.frames < SHORT_FRAMES and track.first > 0 and track.last < end:
                self._events[track.first]['short track'] += 1
        return [
            (min(1.0, events.total() / max(things, 1)), {k: n for k, n in events.items() if n})
            for events, things in zip(self._events, self._things, strict=True)
        ]


def _iou(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """Return the IoU of two boxes x, y, width, height."""
    overlap = np.prod(
        [max(0.0, min(a[i] + a[i + 2], b[i] + b[i + 2]) - max(a[i], b[i])) for i in (0, 1)]
    )
    union = a[2] * a[3] + b[2] * b[3] - overlap
    return float(overlap / union) if union > 0 else 0.0
