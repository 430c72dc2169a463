# SPDX-License-Identifier: Apache-2.0
"""Tracking of things by their masks: HOTA, MOTA, IDF1, and where identities switch.

Sources: HOTA (Luiten et al., HOTA: A Higher Order Metric for Evaluating Multi-Object Tracking,
IJCV 2020), CLEAR MOT (Bernardin and Stiefelhagen 2008), IDF1 (Ristani et al., Performance Measures
and a Data Set for Multi-Target, Multi-Camera Tracking, ECCVW 2016).

The similarity of two segments of a class in a frame is the IoU of their masks, as in panoptic
quality without pixels that are void in the ground truth. For MOTA and IDF1 they match from one
half on. A predicted segment without such a match that is more than half void, or crowd of its
class, is left out of everything. Over several classes the counts are added up, so frequent classes
weigh more. Without void and crowds all this equals TrackEval (which calls the sum over classes
detection averaged).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from panoptic_ros.core.labels import LabelSet
from panoptic_ros.metrics.base import SumMetric
from panoptic_ros.metrics.image_pair import Overlaps
from panoptic_ros.metrics.video_frame import MAX_TRACK_ID, TRACK_BITS, Keys, class_of

ALPHAS = np.arange(1, 20) / 20
"""HOTA's thresholds of IoU: 0.05, 0.10, ... 0.95."""

EPSILON = 1e-9

HALF = 0.5
"""From this IoU on two segments match for MOTA and IDF1."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class IdSwitch:
    """A true track that is followed by another predicted track than when it was last found."""

    clip: int
    """Number of the clip, from 0."""

    frame_index: int
    """Number of the frame in its clip, from 0."""

    class_id: int
    gt_track: int

    old_pred: int
    """Predicted track id until now."""

    new_pred: int
    """Predicted track id in this frame."""

    def to_dict(self) -> dict[str, int]:
        """Plain values for JSON."""
        return asdict(self)


class _Frame(NamedTuple):
    """The segments that count in a frame, and which pairs of them overlap."""

    gt: Keys
    pred: Keys
    i: npt.NDArray[np.intp]
    """(N,) place in `gt` of each overlapping pair of one class."""
    j: npt.NDArray[np.intp]
    """(N,) its place in `pred`."""
    iou: Floats
    """(N,) its IoU."""


class TrackQuality(SumMetric):
    """Collects frames; keeps one row per pair of overlapping segments until the clip ends."""

    sums = ('gt', 'pred', 'matches', 'id_matches', 'hota_matches', 'association')

    def __init__(self, labels: LabelSet) -> None:
        super().__init__(labels)
        self.gt = np.zeros(len(labels), np.int64)
        """(C,) true segments, over all frames."""
        self.pred = np.zeros(len(labels), np.int64)
        """(C,) predicted segments that count."""
        self.matches = np.zeros(len(labels), np.int64)
        """(C,) matched pairs: CLEAR's true positives."""
        self.id_matches = np.zeros(len(labels), np.int64)
        """(C,) IDTP: such pairs under the best one-to-one assignment of tracks in closed clips."""
        self.hota_matches = np.zeros((len(ALPHAS), len(labels)), np.int64)
        """(19, C) HOTA's true positives at each threshold, in closed clips."""
        self.association = np.zeros((len(ALPHAS), len(labels)))
        """(19, C) sum of A(c) over them."""
        self.switches: list[IdSwitch] = []
        """In order of clips and frames."""
        self.clips = 0
        """How many are closed."""
        self.frames: list[_Frame] = []
        """Those of the open clip."""
        self.last: dict[int, int] = {}
        """In the open clip, the predicted track that last matched each true one."""

    def add(self, frame: Overlaps) -> None:
        """Adds the clip's next frame."""
        seen = self._thing_pairs(frame)
        np.add.at(self.gt, class_of(seen.gt), 1)
        np.add.at(self.pred, class_of(seen.pred), 1)
        for gt, pred in self._match(seen):
            class_id = gt >> TRACK_BITS
            self.matches[class_id] += 1
            old = self.last.get(gt, pred)
            if old != pred:
                gt_track, old_pred, new_pred = (key & MAX_TRACK_ID for key in (gt, old, pred))
                self.switches.append(
                    IdSwitch(self.clips, len(self.frames), class_id, gt_track, old_pred, new_pred)
                )
            self.last[gt] = pred
        self.frames.append(seen)

    def _match(self, seen: _Frame) -> list[tuple[int, int]]:
        """Pairs of keys that match.

        Masks do not overlap. So a segment can match twice only where both IoUs are one half to
        the pixel, and then neither of its partners matches another: the one that it had last is
        taken, else any.
        """
        near = seen.iou >= HALF
        pairs = list(
            zip(seen.gt[seen.i[near]].tolist(), seen.pred[seen.j[near]].tolist(), strict=True)
        )
        pairs.sort(key=lambda pair: self.last.get(pair[0]) != pair[1])
        by_gt: dict[int, int] = {}
        for gt, pred in pairs:
            if gt not in by_gt and pred not in by_gt.values():
                by_gt[gt] = pred
        return sorted(by_gt.items())

    def _thing_pairs(self, frame: Overlaps) -> _Frame:
        """Things without crowds, and predictions without excused ones."""
        same = frame.same_class & ~frame.crowd[:, None]
        found = ((2 * frame.both >= frame.union) & same).any(axis=0)
        rows = self.labels.is_thing[frame.gt_class] & ~frame.crowd
        cols = self.labels.is_thing[frame.pred_class] & (
            found | (2 * frame.excused <= frame.pred_area)
        )
        iou = np.where(same, frame.iou, 0)[np.ix_(rows, cols)]
        i, j = np.nonzero(iou)
        return _Frame(frame.gt_ids[rows], frame.pred_ids[cols], i, j, iou[i, j])

    def end_clip(self) -> None:
        """Scores the clip's tracks and forgets them."""
        if self.frames:
            gt, gt_frames = np.unique(
                np.concatenate([f.gt for f in self.frames]), return_counts=True
            )
            pred, pred_frames = np.unique(
                np.concatenate([f.pred for f in self.frames]), return_counts=True
            )
            rows = np.searchsorted(gt, np.concatenate([f.gt[f.i] for f in self.frames]))
            cols = np.searchsorted(pred, np.concatenate([f.pred[f.j] for f in self.frames]))
            pairs, pair = np.unique(rows * len(pred) + cols, return_inverse=True)
            i, j = np.divmod(pairs, max(len(pred), 1))  # (N,) tracks of each pair that ever meets
            class_id = class_of(gt)[i]
            iou = np.concatenate([f.iou for f in self.frames])
            matched = np.bincount(pair[iou >= HALF], minlength=len(pairs))
            np.add.at(self.id_matches, class_id, assign_tracks(i, j, matched) * matched)

            frames_of_either = gt_frames[i] + pred_frames[j]
            potential = np.bincount(
                pair, np.concatenate([_share(f) for f in self.frames]), len(pairs)
            )
            alignment = potential / (frames_of_either - potential)
            chosen = self._assign_frames(alignment[pair])
            pair, iou = pair[chosen], iou[chosen]
            for a, alpha in enumerate(ALPHAS):
                matched = np.bincount(pair[iou >= alpha - EPSILON], minlength=len(pairs))
                np.add.at(self.hota_matches[a], class_id, matched)
                np.add.at(
                    self.association[a], class_id, matched * matched / (frames_of_either - matched)
                )
        self.frames, self.last = [], {}
        self.clips += 1

    def _assign_frames(self, alignment: Floats) -> npt.NDArray[np.bool_]:
        """Pairs that HOTA matches at some threshold: those of the best sum in their frame.

        Args:
            alignment: how well the tracks of each pair agree over the clip, (N,) for the pairs
                of all frames.

        Returns:
            (N,) True for the chosen ones.
        """
        chosen = np.zeros(len(alignment), bool)
        start = 0
        for f in self.frames:
            score, number = np.zeros((2, len(f.gt), len(f.pred)))
            here = slice(start, start + len(f.iou))
            score[f.i, f.j] = alignment[here] * f.iou
            number[f.i, f.j] = np.arange(here.start, here.stop)
            best = linear_sum_assignment(score, maximize=True)
            chosen[number[best][score[best] > 0].astype(int)] = True
            start = here.stop
        return chosen

    def merge(self, other: TrackQuality) -> None:
        """Adds the clips that another instance has closed, numbered on from this one's."""
        super().merge(other)
        self.switches += [
            IdSwitch(**{**switch.to_dict(), 'clip': self.clips + switch.clip})
            for switch in other.switches
        ]
        self.clips += other.clips

    def scores(self, among: npt.NDArray[np.bool_]) -> dict[str, Any]:
        """Scores over the things of (C,) `among`, percent, and `id_switches`, a number.

        NaN where nothing is to be tracked: MOTA without a true segment, IDF1 and HOTA with its
        parts without any, `id_switches` without a class of things.
        """
        things = among & self.labels.is_thing
        if not things.any():
            return dict.fromkeys(
                ('idf1', 'mota', 'hota', 'deta', 'assa', 'id_switches'), float('nan')
            )
        gt, pred, matches, id_matches = (
            int(x[things].sum()) for x in (self.gt, self.pred, self.matches, self.id_matches)
        )
        switches = sum(bool(things[switch.class_id]) for switch in self.switches)
        tp = self.hota_matches[:, things].sum(axis=1)
        deta = 100 * tp / np.maximum(gt + pred - tp, 1)
        assa = 100 * self.association[:, things].sum(axis=1) / np.maximum(tp, 1)
        nan = float('nan')
        return {
            'idf1': 200 * id_matches / (gt + pred) if gt + pred else nan,
            'mota': 100 * (2 * matches - pred - switches) / gt if gt else nan,
            'hota': float(np.sqrt(deta * assa).mean()) if gt + pred else nan,
            'deta': float(deta.mean()) if gt + pred else nan,
            'assa': float(assa.mean()) if gt + pred else nan,
            'id_switches': switches,
        }


def _share(frame: _Frame) -> Floats:
    """HOTA's soft count of a potential match: a pair's part of all the IoU that both have."""
    of_gt = np.bincount(frame.i, frame.iou, len(frame.gt))
    of_pred = np.bincount(frame.j, frame.iou, len(frame.pred))
    return frame.iou / (of_gt[frame.i] + of_pred[frame.j] - frame.iou)


def assign_tracks(
    i: npt.NDArray[np.int64], j: npt.NDArray[np.int64], count: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    """The one-to-one assignment of tracks with the most matches.

    Solved apart for tracks that never meet, directly or through others, so that its cost follows
    the length of the video, not its cube.

    Args:
        i: (N,) true track of each pair.
        j: (N,) predicted track of it.
        count: (N,) frames in which they match.

    Returns:
        (N,) True for the pairs assigned to one another.
    """
    chosen = np.zeros(len(i), bool)
    if not count.any():
        return chosen
    n = int(i.max()) + 1
    size = n + int(j.max()) + 1
    met = np.flatnonzero(count)
    graph = coo_array((np.ones(len(met)), (i[met], n + j[met])), (size, size))
    group_of = connected_components(graph, directed=False)[1][i[met]]
    order = np.argsort(group_of, kind='stable')
    for group in np.split(met[order], np.flatnonzero(np.diff(group_of[order])) + 1):
        rows, row = np.unique(i[group], return_inverse=True)
        cols, col = np.unique(j[group], return_inverse=True)
        number, table = np.zeros((2, len(rows), len(cols)), np.int64)
        table[row, col], number[row, col] = count[group], group
        best = linear_sum_assignment(table, maximize=True)
        chosen[number[best][table[best] > 0]] = True
    return chosen
