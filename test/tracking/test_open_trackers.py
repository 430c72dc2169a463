# SPDX-License-Identifier: Apache-2.0
"""The tracker beside the open ones of the package `trackers`, on the masks of a real drive.

100 images at 5 Hz, with the ground truth's masks but without its ids, embeddings and images; each
tracker has its defaults.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from panoptic_ros.core.label_frame import frame_of_labels
from panoptic_ros.core.labels import Label, LabelSet
from panoptic_ros.metrics.image_pair import Overlaps
from panoptic_ros.metrics.tracks import TrackQuality
from panoptic_ros.metrics.video_frame import TRACK_BITS, measure_frame, track_of
from panoptic_ros.tracking import Tracker

TRUTH = Path(__file__).parents[3] / 'shared/data/metrics/seg_track/seg_track_sample.json'
CLASSES = 'pedestrian rider car truck bus train motorcycle bicycle'.split()
LABELS = LabelSet(
    (
        Label('background', False, (0, 0, 0), 0),
        *(Label(name, True, (0, 0, i), i) for i, name in enumerate(CLASSES, 1)),
    )
)
OPEN_TRACKERS = 'ByteTrackTracker', 'OCSORTTracker', 'CBIoUTracker'


class OpenTracker:
    """Tracker of the package, which sees boxes and classes."""

    def __init__(self, trackers, name):
        self.tracker = getattr(trackers, name)()

    def update(self, frame):
        import supervision

        rows = frame.segments.copy()
        x, y, w, h = (rows[f'bbox_{side}'] for side in 'xywh')
        seen = self.tracker.update(
            supervision.Detections(
                xyxy=np.stack([x, y, x + w, y + h], axis=1),
                confidence=np.ones(len(rows), np.float32),
                class_id=rows['class_id'].astype(int),
                data={'segment_id': rows['segment_id'].astype(int)},
            )
        )
        ids = dict(zip(seen.data['segment_id'].tolist(), seen.tracker_id.tolist(), strict=True))
        rows['track_id'] = [1 + ids.get(i, -1) for i in rows['segment_id'].tolist()]
        return replace(frame, segments=rows)


@pytest.fixture(scope='module')
def images():
    """The frames without ids, and the pixels that ground truth and segments share."""
    rle = pytest.importorskip('pycocotools.mask')
    result = []
    for index, entry in enumerate(json.loads(TRUTH.read_text())):
        class_map, track_map = np.zeros((720, 1280), np.uint8), np.zeros((720, 1280), np.int32)
        for label in entry['labels']:
            mask = rle.decode({**label['rle'], 'counts': label['rle']['counts'].encode()}) == 1
            class_map[mask] = CLASSES.index(label['category']) + 1
            track_map[mask] = int(label['id']) + 1
        frame = frame_of_labels(class_map, track_map, LABELS)
        frame = replace(frame, segments=frame.segments[frame.segments['is_thing'] == 1])
        maps = class_map, track_map, class_map, frame.segment_map
        result.append((replace(frame, stamp_s=index / 5), measure_frame(*maps, LABELS)))
    return result


def idf1(tracker, images):
    """Return IDF1 of a tracker, percent; things without a track id are left out."""
    quality = TrackQuality(LABELS)
    for frame, overlaps in images:
        ids = np.zeros(2**16, np.int64)
        rows = tracker.update(frame).segments
        ids[rows['segment_id']] = rows['track_id']
        track = ids[track_of(overlaps.pred_ids)]
        keep = track > 0
        quality.update(
            Overlaps(
                overlaps.gt_ids,
                (overlaps.pred_class[keep] << TRACK_BITS) | track[keep],
                overlaps.gt_class,
                overlaps.pred_class[keep],
                overlaps.crowd,
                overlaps.shared[:, np.append(True, keep)],
            )
        )
    quality.end_clip()
    return quality.compute(LABELS.is_thing)['idf1']


@pytest.mark.slow
@pytest.mark.skipif(not TRUTH.is_file(), reason='needs shared/data next to the checkout')
@pytest.mark.parametrize(
    ('step', 'ours', 'best_open'), [(1, 88.1, 81.1), (2, 80.0, 49.2), (5, 51.4, 31.8)]
)
def test_idf1_beside_open_trackers(images, step, ours, best_open):
    """Check the table of docs/tracking.md, which was made with trackers 2.6.1."""
    trackers = pytest.importorskip('trackers', reason='needs `pip install trackers`')
    seen = images[::step]
    scores = {name: idf1(OpenTracker(trackers, name), seen) for name in OPEN_TRACKERS}
    assert idf1(Tracker(), seen) == pytest.approx(ours, abs=0.05)
    assert max(scores.values()) == pytest.approx(best_open, abs=0.05), scores
