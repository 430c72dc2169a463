# SPDX-License-Identifier: Apache-2.0
"""Recorded clips on disk."""

import dataclasses

import cv2
import numpy as np
import pytest
from disc_frames import Disc, make_frame

from panoptic_training.tracking import recorded


class Oracle:
    """Predictor that returns given frames."""

    def __init__(self, frames):
        self.frames = iter(frames)

    def predict(self, image, stamp_s):
        return dataclasses.replace(next(self.frames), stamp_s=stamp_s)


def test_a_clip_comes_back_from_disk_as_it_was_recorded(tmp_path):
    size = (32, 64)
    made = [make_frame(0.0, Disc(10 + t, y=15), size=size) for t in range(2)]
    empty = make_frame(0.0, size=size)
    path = tmp_path / 'deep' / 'clip.npz'
    frames = [*made, empty]
    assert list(recorded.record(Oracle(frames), 3, 3, path, size)) == [1, 2, 3]
    clip = recorded.load_clip(path)
    truth = [recorded.SyntheticClip(3, size).frame(i) for i in range(3)]
    assert [f.stamp_s for f in clip.frames] == [0.0, 0.05, 0.1]
    for got, given, gt in zip(clip.frames, frames, truth, strict=True):
        expected = recorded.located(given, gt)
        np.testing.assert_array_equal(got.segment_map, expected.segment_map)
        assert got.geometry == expected.geometry
        assert got.segments.dtype == expected.segments.dtype
        assert got.segments.tobytes() == expected.segments.tobytes()
    np.testing.assert_array_equal(clip.class_maps, [f.class_map for f in truth])
    np.testing.assert_array_equal(clip.track_maps, [f.track_map for f in truth])
    np.testing.assert_array_equal(
        clip.images, [cv2.cvtColor(f.image, cv2.COLOR_RGB2GRAY) for f in truth]
    )
    street = recorded.SyntheticClip(3, size)
    for view, gt in zip(clip.views, truth, strict=True):
        np.testing.assert_array_equal(view.odom_from_camera, street.pose_at(gt.stamp_s))
        focal_px, (u, v) = gt.intrinsics[0, 0], gt.intrinsics[:2, 2]
        pixel = view.project(np.array([[3.0], [0.5], [2.0]]))  # outside the image
        np.testing.assert_allclose(pixel[:, 0], [u + 1.5 * focal_px, v + 0.25 * focal_px])
    assert [p.name for p in path.parent.iterdir()] == ['clip.npz'], 'nothing is left beside it'


def test_positions_are_medians_of_the_exact_depth():
    gt = recorded.SyntheticClip(3, (64, 128)).frame(0)
    frame = make_frame(0.0, Disc(40, y=45, radius=9), Disc(90, y=20, radius=12), size=(64, 128))
    for row in recorded.located(frame, gt).segments:
        mask = (frame.segment_map == row['segment_id']).astype(np.uint8)
        y, x = np.nonzero(cv2.erode(mask, np.ones((5, 5), np.uint8)))
        depth = gt.depth[y, x]
        assert row['z'] == pytest.approx(np.median(depth), rel=1e-6)
        side = (x - gt.intrinsics[0, 2]) / gt.intrinsics[0, 0] * depth
        assert row['x'] == pytest.approx(np.median(side), rel=1e-4)


def test_a_recording_that_stops_half_way_leaves_no_file(tmp_path):
    path = tmp_path / 'clip.npz'
    recording = recorded.record(Oracle([make_frame(0.0, size=(32, 64))]), 3, 2, path, (32, 64))
    with pytest.raises(RuntimeError):
        list(recording)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('content', [b'', b'PK\x03\x04 not quite', b'a: ['])
def test_a_broken_file_is_refused_in_one_line(tmp_path, content):
    path = tmp_path / 'clip.npz'
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r'clip.npz is not a recorded clip; delete it'):
        recorded.load_clip(path)


def test_another_model_is_another_file(tmp_path):
    files = []
    for content in (b'one', b'two'):
        model = tmp_path / 'city.onnx'
        model.write_bytes(content)
        files.append(recorded.clip_file(tmp_path, model, 7, 60))
    assert files[0] != files[1] and files[0].name == 'seed7-60-metres.npz'


@pytest.mark.parametrize('clips', [0, 1001])
def test_more_clips_than_seeds_are_refused(clips):
    with pytest.raises(ValueError, match=f'--clips must be 1 to 1000, got {clips}'):
        recorded.seeds_of('test', clips)
