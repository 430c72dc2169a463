# SPDX-License-Identifier: Apache-2.0
"""Tracking metrics on the masks of things: HOTA, MOTA, IDF1 and id switches.

Sources: HOTA (Luiten et al., HOTA: A Higher Order Metric for Evaluating Multi-Object Tracking,
IJCV 2020), CLEAR MOT (Bernardin and Stiefelhagen 2008), IDF1 (Ristani et al., Performance Measures
and a Data Set for Multi-Target, Multi-Camera Tracking, ECCVW 2016).

The similarity of two segments of a class in a frame is the IoU of their masks, as in panoptic
quality without pixels that are void in the ground truth. For MOTA and IDF1 they match from an IoU
of one half. A predicted segment without such a match of which more than half is void, or crowd of
its class, does not count at all. Over several classes the counts are added up, so frequent classes
weigh more. Without void and crowds all figures equal TrackEval's (which calls the sum over classes
"detection averaged").
"""

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
"""IoU thresholds of HOTA: 0.05, 0.10, ... 0.95."""

EPSILON = 1e-9
"""Tolerance of the comparisons with ALPHAS, as in TrackEval."""

HALF = 0.5
"""Smallest IoU of a match for MOTA and IDF1."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class IdSwitch:
    """Ground-truth track that matches another predicted track than at its last match."""

    clip: int
    """Index of the clip, from 0."""

    frame_index: int
    """Index of the frame in its clip, from 0."""

    class_id: int
    gt_track: int

    old_pred: int
    """Predicted track id of the last match."""

    new_pred: int
    """Predicted track id in this frame."""

    def to_dict(self) -> dict[str, int]:
        """Return plain values for JSON."""
        return asdict(self)


class _Frame(NamedTuple):
    """Segments of a frame that count, and the overlapping pairs of them."""

    gt: Keys
    pred: Keys
    i: npt.NDArray[np.intp]
    """(N,) index into `gt` of each overlapping pair of one class."""
    j: npt.NDArray[np.intp]
    """(N,) index into `pred`."""
    iou: Floats
    """(N,) IoU of the pair."""


class TrackQuality(SumMetric):
    """Tracking metrics over clips.

    Until the clip ends, one row per pair of overlapping segments is kept.
    """

    sums = ('gt', 'pred', 'matches', 'switched', 'id_matches', 'hota_matches', 'association')

    def __init__(self, labels: LabelSet) -> None:
        super().__init__(labels)
        self.gt = np.zeros(len(labels), np.int64)
        """(C,) ground-truth segments over all frames."""
        self.pred = np.zeros(len(labels), np.int64)
        """(C,) predicted segments that count, over all frames."""
        self.matches = np.zeros(len(labels), np.int64)
        """(C,) matched pairs, the true positives of CLEAR MOT."""
        self.switched = np.zeros(len(labels), np.int64)
        """(C,) number of id switches."""
        self.id_matches = np.zeros(len(labels), np.int64)
        """(C,) IDTP: matched pairs of the best one-to-one assignment of tracks, closed clips."""
        self.hota_matches = np.zeros((len(ALPHAS), len(labels)), np.int64)
        """(19, C) true positives of HOTA at each threshold, closed clips."""
        self.association = np.zeros((len(ALPHAS), len(labels)))
        """(19, C) sum of HOTA's association score A(c) over these true positives."""
        self.switches: list[IdSwitch] = []
        """Id switches in the order of clips and frames."""
        self.clips = 0
        """Number of closed clips."""
        self.frames: list[_Frame] = []
        """Frames of the open clip."""
        self.last: dict[int, int] = {}
        """Predicted track of the last match of each ground-truth track, in the open clip."""

    def update(self, frame: Overlaps) -> None:
        """Add the clip's next frame."""
        things = self._thing_pairs(frame)
        np.add.at(self.gt, class_of(things.gt), 1)
        np.add.at(self.pred, class_of(things.pred), 1)
        for gt, pred in self._match(things):
            class_id = gt >> TRACK_BITS
            self.matches[class_id] += 1
            old = self.last.get(gt, pred)
            if old != pred:
                self.switched[class_id] += 1
                gt_track, old_pred, new_pred = (key & MAX_TRACK_ID for key in (gt, old, pred))
                self.switches.append(
                    IdSwitch(self.clips, len(self.frames), class_id, gt_track, old_pred, new_pred)
                )
            self.last[gt] = pred
        self.frames.append(things)

    def _match(self, frame: _Frame) -> list[tuple[int, int]]:
        """Return the pairs of keys that match.

        Masks do not overlap, so a segment can have two candidates only if both IoUs are exactly
        one half, and then neither candidate matches another segment: the track of the last match
        is preferred, otherwise the choice does not matter.
        """
        near = frame.iou >= HALF
        pairs = list(
            zip(frame.gt[frame.i[near]].tolist(), frame.pred[frame.j[near]].tolist(), strict=True)
        )
        pairs.sort(key=lambda pair: self.last.get(pair[0]) != pair[1])
        by_gt: dict[int, int] = {}
        for gt, pred in pairs:
            if gt not in by_gt and pred not in by_gt.values():
                by_gt[gt] = pred
        return sorted(by_gt.items())

    def _thing_pairs(self, frame: Overlaps) -> _Frame:
        """Return the things of a frame without crowds and without excused predictions."""
        same = frame.same_class & ~frame.crowd[:, None]
        found = ((2 * frame.intersection >= frame.union) & same).any(axis=0)
        rows = self.labels.is_thing[frame.gt_class] & ~frame.crowd
        cols = self.labels.is_thing[frame.pred_class] & (
            found | (2 * frame.excused <= frame.pred_area)
        )
        iou = np.where(same, frame.iou, 0)[np.ix_(rows, cols)]
        i, j = np.nonzero(iou)
        return _Frame(frame.gt_ids[rows], frame.pred_ids[cols], i, j, iou[i, j])

    def end_clip(self) -> None:
        """Score the clip's tracks and discard them."""
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
            i, j = np.divmod(pairs, max(len(pred), 1))  # (N,) tracks of each pair that overlaps
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
        """Choose the pairs that HOTA may match: in each frame those with the largest sum.

        Args:
            alignment: (N,) agreement of each pair's tracks over the clip, for the pairs of all
                frames.

        Returns:
            (N,) True for the chosen pairs.
        """
        chosen = np.zeros(len(alignment), bool)
        start = 0
        for f in self.frames:
            score, number = np.zeros((2, len(f.gt), len(f.pred)))
            rows = slice(start, start + len(f.iou))
            score[f.i, f.j] = alignment[rows] * f.iou
            number[f.i, f.j] = np.arange(rows.start, rows.stop)
            best = linear_sum_assignment(score, maximize=True)
            chosen[number[best][score[best] > 0].astype(int)] = True
            start = rows.stop
        return chosen

    def merge(self, other: 'TrackQuality') -> None:
        """Add the closed clips of another instance; their numbers continue after the own ones."""
        super().merge(other)
        self.switches += [
            IdSwitch(**{**switch.to_dict(), 'clip': self.clips + switch.clip})
            for switch in other.switches
        ]
        self.clips += other.clips

    def compute(self, among: npt.NDArray[np.bool_]) -> dict[str, Any]:
        """Return scores over the things of (C,) `among`, percent, and the number `id_switches`.

        MOTA is NaN without a ground-truth segment, IDF1, HOTA and its parts without any segment,
        `id_switches` without a thing class.
        """
        things = among & self.labels.is_thing
        if not things.any():
            return dict.fromkeys(
                ('idf1', 'mota', 'hota', 'deta', 'assa', 'id_switches'), float('nan')
            )
        gt, pred, matches, id_matches, switches = (
            int(x[things].sum())
            for x in (self.gt, self.pred, self.matches, self.id_matches, self.switched)
        )
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
    """Return HOTA's soft count of each potential match: its share of all IoU of both segments."""
    of_gt = np.bincount(frame.i, frame.iou, len(frame.gt))
    of_pred = np.bincount(frame.j, frame.iou, len(frame.pred))
    return frame.iou / (of_gt[frame.i] + of_pred[frame.j] - frame.iou)


def assign_tracks(
    i: npt.NDArray[np.int64], j: npt.NDArray[np.int64], count: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    """Compute the one-to-one assignment of tracks with the most matches.

    Groups of tracks that never match each other, directly or through other tracks, are solved
    separately, so that the cost grows linearly with the length of the video instead of cubically.

    Args:
        i: (N,) ground-truth track of each pair.
        j: (N,) predicted track of each pair.
        count: (N,) number of frames in which the two match.

    Returns:
        (N,) True for the pairs that are assigned to each other.
    """
    chosen = np.zeros(len(i), bool)
    if not count.any():
        return chosen
    n = int(i.max()) + 1
    size = n + int(j.max()) + 1
    matched = np.flatnonzero(count)
    graph = coo_array((np.ones(len(matched)), (i[matched], n + j[matched])), (size, size))
    group_of = connected_components(graph, directed=False)[1][i[matched]]
    order = np.argsort(group_of, kind='stable')
    for group in np.split(matched[order], np.flatnonzero(np.diff(group_of[order])) + 1):
        rows, row = np.unique(i[group], return_inverse=True)
        cols, col = np.unique(j[group], return_inverse=True)
        number, table = np.zeros((2, len(rows), len(cols)), np.int64)
        table[row, col], number[row, col] = count[group], group
        best = linear_sum_assignment(table, maximize=True)
        chosen[number[best][table[best] > 0]] = True
    return chosen
