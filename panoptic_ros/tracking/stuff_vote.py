# SPDX-License-Identifier: Apache-2.0
"""Vote of the last frames for the class of stuff in each cell."""

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from panoptic_ros.core.extent import camera_columns, extent_of
from panoptic_ros.core.frame import Geometry, PanopticFrame
from panoptic_ros.core.labels import VOID_ID
from panoptic_ros.tracking.camera_motion import STANDING, Motion, scaled

ClassMap = npt.NDArray[np.uint8]

VOTES = 5
"""Number of frames that vote, the present one included."""

MAX_AGE_S = 0.5
"""Largest difference between the stamps of a frame that votes and of the present one."""

MAX_GROWTH_CELLS = 1.0
"""Largest move of the edges of the map, away from its middle, by the growth of the image since a
frame that votes. A camera that moves forward makes near things grow faster than far ones, so that
no similarity brings an earlier map onto the present one."""


@dataclass(frozen=True)
class _Voter:
    """Earlier frame."""

    class_map: ClassMap
    """(h, w) class ids of stuff, VOID_ID on cells without a vote."""

    stamp_s: float

    motion: Motion
    """Motion of the camera from this frame to the present one, cells."""

    def has_vote_for(self, frame: PanopticFrame) -> bool:
        """Return whether the frame is near enough to the present one."""
        growth = abs(math.sqrt(abs(np.linalg.det(self.motion))) - 1)
        return (
            abs(frame.stamp_s - self.stamp_s) <= MAX_AGE_S
            and growth * max(self.class_map.shape) / 2 <= MAX_GROWTH_CELLS
        )


class StuffVote:
    """Frames of one camera in which each cell of stuff has the class of most of the last frames.

    The frames that vote are the last VOTES within MAX_AGE_S, without those from which the camera
    has moved forward or back since, see MAX_GROWTH_CELLS. Of classes with equally many votes that
    of the newest frame wins. Cells of things, void and segments of unknown class have no vote and
    never change, and no cell gets a class that the present frame does not have.
    """

    def __init__(self) -> None:
        self._voters: list[_Voter] = []  # the newest first
        self._geometry: Geometry | None = None

    def clear(self) -> None:
        """Forget the earlier frames."""
        self._voters.clear()

    def update(self, frame: PanopticFrame, motion: Motion | None = STANDING) -> PanopticFrame:
        """Return the next frame with the classes that were voted for.

        Segments without cells are left out. The confidence of a cell whose class has changed is
        the share of the votes for it. Scores do not change.

        Args:
            frame: the next frame, which is not changed.
            motion: motion of the camera since the last frame, camera px; None if it is not known,
                then the earlier frames are forgotten.
        """
        if motion is None or frame.geometry != self._geometry:
            self.clear()
        else:
            cells = scaled(motion, 1 / np.array(frame.geometry.px_per_cell[::-1]))
            earlier = (replace(v, motion=cells @ v.motion) for v in self._voters)
            self._voters = [v for v in earlier if v.has_vote_for(frame)]
        self._geometry = frame.geometry
        present = stuff_classes(frame)
        maps = [present, *(moved(voter.class_map, voter.motion) for voter in self._voters)]
        self._voters = [_Voter(present, frame.stamp_s, STANDING), *self._voters][: VOTES - 1]
        return with_votes(frame, maps)


def stuff_classes(frame: PanopticFrame) -> ClassMap:
    """Return the class of each cell of stuff whose class is known, VOID_ID elsewhere, (h, w)."""
    return frame.paint(
        np.where(_has_vote(frame), frame.segments['class_id'], VOID_ID).astype(np.uint8), VOID_ID
    )


def moved(class_map: ClassMap, motion: Motion) -> ClassMap:
    """Return a map (h, w) after a motion in cells; VOID_ID where it does not reach.

    Each cell has the class of the nearest one.
    """
    if np.array_equal(motion, STANDING):
        return class_map
    height, width = class_map.shape
    return cv2.warpAffine(
        class_map,
        motion[:2],
        (width, height),
        flags=cv2.INTER_NEAREST,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=VOID_ID,
    )


def with_votes(frame: PanopticFrame, class_maps: list[ClassMap]) -> PanopticFrame:
    """Return a frame whose cells of stuff have the class of most maps.

    Args:
        frame: the frame.
        class_maps: its own `stuff_classes`, and those of earlier frames, the newest first.
    """
    own, *earlier = class_maps
    is_disputed = np.zeros(own.shape, bool)
    for class_map in earlier:
        is_disputed |= (class_map != own) & (class_map != VOID_ID)
    cells = np.flatnonzero(is_disputed & (own != VOID_ID))
    segment_of = _segment_of_class(frame)
    ballots = np.stack([class_map.reshape(-1).take(cells) for class_map in class_maps])  # (K, N)
    is_valid = segment_of.take(ballots) > 0
    votes = (ballots[:, None] == ballots).sum(axis=1) * is_valid  # for the class of each ballot
    winner = votes.argmax(axis=0)[None]  # the first of equals is the newest
    classes, share = (
        np.take_along_axis(values, winner, axis=0)[0]
        for values in (ballots, votes / np.maximum(is_valid.sum(axis=0), 1))
    )
    changed = classes != ballots[0]
    if not changed.any():
        return frame
    cells, classes, share = cells[changed], classes[changed], share[changed]
    segment_map = frame.segment_map.copy()
    segment_map.reshape(-1)[cells] = segment_of.take(classes)
    confidence_map = frame.confidence_map
    if confidence_map is not None:
        confidence_map = confidence_map.copy()
        confidence_map.reshape(-1)[cells] = np.rint(255 * share)
    ids = np.union1d(frame.segment_map.reshape(-1).take(cells), segment_of.take(classes))
    return replace(
        frame,
        segment_map=segment_map,
        segments=_measured_again(frame, segment_map, ids),
        confidence_map=confidence_map,
    )


def _measured_again(
    frame: PanopticFrame, segment_map: npt.NDArray[np.uint16], ids: npt.NDArray[np.uint16]
) -> npt.NDArray[np.void]:
    """Return the rows of a frame with the extents that segments `ids` have in another map.

    Rows of those without cells are left out.
    """
    rows, is_gone = frame.segments.copy(), np.zeros(len(frame.segments), bool)
    for row in np.flatnonzero(np.isin(rows['segment_id'], ids)).tolist():
        mask = segment_map == rows['segment_id'][row]
        area = int(np.count_nonzero(mask))
        is_gone[row] = area == 0
        if area:
            extent = extent_of(mask, area)
            for name, value in camera_columns(frame.geometry, area, *extent).items():
                rows[name][row] = value.item()
    return rows[~is_gone]


def _has_vote(frame: PanopticFrame) -> npt.NDArray[np.bool_]:
    """Return which segments are stuff whose class is known, (S,)."""
    rows = frame.segments
    is_known = np.ones(len(rows), bool)
    if frame.unknown_id is not None:
        is_known = rows['class_id'] != frame.unknown_id
    return is_known & (rows['is_thing'] == 0)


def _segment_of_class(frame: PanopticFrame) -> npt.NDArray[np.uint16]:
    """Return the id of the largest segment of each class of stuff, 0 for none, (VOID_ID + 1,)."""
    rows = frame.segments[_has_vote(frame)]
    rows = rows[np.argsort(rows['area'], kind='stable')]
    segment_of = np.zeros(VOID_ID + 1, np.uint16)
    segment_of[rows['class_id']] = rows['segment_id']
    return segment_of
