# SPDX-License-Identifier: Apache-2.0
"""Images whose results changed most between two replays."""

import base64
import re
import shutil

import cv2
import numpy as np
import pytest
from replay_bags import START_NS, STEP_NS, drive, write_bag
from replay_runs import run

from panoptic_ros.core.frame import Geometry, PanopticFrame, segment_dtype
from panoptic_ros.replay.changes import changed_share, find_changes
from panoptic_ros.replay.compare import compare_replays
from panoptic_ros.replay.finished_run import read_run

ROAD, CAR = 0, 1


def frame(rows, classes=(ROAD, CAR, CAR)) -> PanopticFrame:
    """Return a frame of segments 1, 2, ... with classes; of these CAR is a thing."""
    cells = np.array(rows, np.uint16)
    segments = np.zeros(len(classes), segment_dtype(embedding_dim=0))
    segments['segment_id'] = np.arange(len(classes)) + 1
    segments['class_id'] = classes
    segments['is_thing'] = np.array(classes) == CAR
    return PanopticFrame(cells, segments, Geometry(cells.shape, cells.shape, 1), 0.0)


BOTH = [[1, 1, 1, 0], [2, 2, 3, 3]]


@pytest.mark.parametrize(
    ('rows', 'classes', 'share'),
    [
        (BOTH, (ROAD, CAR, CAR), 0),
        ([[1, 1, 1, 0], [3, 3, 2, 2]], (ROAD, CAR, CAR), 0),  # other ids of the same things
        ([[1, 0, 0, 0], [2, 2, 3, 3]], (ROAD, CAR, CAR), 2 / 8),  # most of the road is gone
        ([[1, 1, 1, 1], [2, 2, 3, 3]], (ROAD, CAR, CAR), 1 / 8),  # void became road
        ([[1, 1, 1, 0], [2, 2, 2, 2]], (ROAD, CAR, CAR), 4 / 8),  # two cars became one
        ([[1, 1, 1, 0], [2, 2, 3, 3]], (ROAD, CAR, ROAD), 2 / 8),  # a car became road
        (np.kron(BOTH, np.ones((2, 2))), (ROAD, CAR, CAR), 0),  # of another resolution
    ],
)
def test_pixels_change_with_their_class_or_their_thing(rows, classes, share):
    first, second = frame(BOTH), frame(rows, classes)
    assert changed_share(first, second) == pytest.approx(share)
    assert changed_share(second, first) == pytest.approx(share)


@pytest.fixture(scope='module')
def folders(tmp_path_factory, tiny_model):
    """Replays of a part of a bag; the second leaves out the box and images of the first."""
    folder = tmp_path_factory.mktemp('changes')
    bag = write_bag(folder / 'drive', drive(14, with_gt=False))
    config = folder / 'node.yaml'
    config.write_text('/**: {ros__parameters: {classes: {exclude: [box]}}}')
    flags = [bag, '--model', tiny_model]
    assert run(*flags, '-o', folder / 'a') == 0
    assert run(*flags, '--config', config, '--start', '0.3', '-o', folder / 'b') == 0
    return folder / 'a', folder / 'b'


def changes_of(folders):
    runs = tuple(map(read_run, folders))
    return find_changes(runs, folders, compare_replays(*runs).pairs)


def test_the_images_that_changed_are_shown_in_both_runs(folders):
    found = changes_of(folders)
    stamps = [[record.stamp_ns for record in change.pair] for change in found]
    # From the fourth image on, all differ by the box; half a second lies between those shown.
    assert stamps == [[START_NS + i * STEP_NS] * 2 for i in (3, 8, 13)]
    for change in found:
        assert change.share == pytest.approx(32 * 32 / (64 * 128))
        a, b = (
            cv2.imdecode(np.frombuffer(one, np.uint8), cv2.IMREAD_COLOR).astype(int)
            for one in change.overlays
        )
        assert a.shape == b.shape == (64, 128, 3)
        difference = np.abs(a - b)
        assert difference[16:48, 80:112].mean() > 10 * difference[:, :64].mean()


def test_equal_runs_have_no_changes(folders):
    assert changes_of((folders[0], folders[0])) == []


def test_the_page_shows_the_figures_where_a_bag_is_missing(folders, tmp_path, capsys):
    shutil.copytree(folders[1], tmp_path / 'b')
    shutil.rmtree(tmp_path / 'b/bag')
    assert run('--compare', folders[0], tmp_path / 'b', '-o', tmp_path / 'out') == 0
    assert 'no pictures: no bag at ' in capsys.readouterr().out
    page = (tmp_path / 'out/compare.html').read_text()
    assert 'There are no pictures: no bag at ' in page and 'images without a result' in page


def test_another_bag_is_not_shown(folders, tmp_path):
    shutil.copytree(folders[1], tmp_path / 'b')
    shutil.rmtree(tmp_path / 'b/bag')
    shutil.copytree(folders[0] / 'bag', tmp_path / 'b/bag')
    with pytest.raises(ValueError, match='does not match its frames'):
        changes_of((folders[0], tmp_path / 'b'))


def test_each_thumbnail_opens_the_full_picture(folders, tmp_path):
    assert run('--compare', *folders, '-o', tmp_path / 'out') == 0
    page = (tmp_path / 'out/compare.html').read_text()
    ids = re.findall(r'class="picture" id="(\w+)"', page)
    assert len(set(ids)) == len(ids) == 6
    assert re.findall(r'class="open" href="#(\w+)"', page) == ids
    for data in re.findall(r'base64,([^"]+)"', page):
        picture = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
        assert picture.shape == (64, 128, 3), 'the size of the camera'
