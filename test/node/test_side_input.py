# SPDX-License-Identifier: Apache-2.0
"""Choice and counts of depth and clouds, and calibrations that change."""

from types import SimpleNamespace as Message

import pytest
from camera_infos import PINHOLE, camera_info

from panoptic_ros.node.diagnostics import Level
from panoptic_ros.node.side_input import CalibrationInput, Mismatch, RefusedError, SideInput

MS = 10**6


@pytest.fixture
def warnings():
    return []


@pytest.fixture
def depth(warnings):
    return SideInput('depth', lambda kind, text: warnings.append(text))


def receive(depth, *stamps_ms):
    for stamp in stamps_ms:
        depth.receive(Message(data=bytes(4), at=stamp), stamp * MS, stamp / 1e3)


def refuse(message):
    raise RefusedError(Mismatch.UNREADABLE, 'it is\nbroken')


def test_the_nearest_message_is_read_and_counted(depth):
    receive(depth, 1000, 1033, 1066)
    assert depth.use(1040 * MS, 50, lambda message: message.at) == 1033
    assert depth.use(1050 * MS, 50, lambda message: message.at, newest=True) == 1066
    assert (depth.used, depth.problem, sum(depth.mismatches.values())) == (2, '', 0)
    assert depth.offset_ms == pytest.approx(16)


def test_images_without_a_message_are_counted_by_reason(depth, warnings):
    receive(depth, 1000)
    assert depth.use(1051 * MS, 50, lambda message: 1) is None
    assert depth.use(1000 * MS, 50, refuse) is None
    assert depth.mismatches == {Mismatch.OFFSET: 1, Mismatch.UNREADABLE: 1}
    assert 'within 50 ms of the image' in warnings[0] and 'depth.max_offset_ms' in warnings[0]
    assert warnings[1].startswith('depth is not used: it is') and '\n' not in warnings[1]
    assert depth.problem and depth.used == 0
    depth.use(1000 * MS, 50, lambda message: 1)
    assert not depth.problem


def test_status(depth):
    status = depth.status('front', '', 1.0, active=True)
    assert (status.name, status.level) == ('depth/front', Level.OK)
    assert status.message == 'no depth has arrived' and status.values['age s'] == 'n/a'
    receive(depth, 1000, 1100)
    depth.use(1090 * MS, 50, lambda message: 1)
    status = depth.status('front', '/front/depth', 1.5, active=True)
    assert (status.level, status.message) == (Level.OK, 'ok')
    values = status.values
    assert (values['rate hz'], values['age s'], values['offset ms']) == ('10.0', '0.400', '10.0')
    assert (values['used'], values['topics']) == ('1', '/front/depth')
    shown = {name for name in values if name.startswith('mismatch ')}
    assert shown == {
        f'mismatch {reason.value}' for reason in Mismatch if reason is not Mismatch.TRANSFORM
    }
    depth.use(1090 * MS, 50, refuse)
    status = depth.status('front', '/front/depth', 1.5, active=True)
    assert status.level == Level.WARN and 'broken' in status.message
    idle = depth.status('front', '', 1.5, active=False)
    assert idle.level == Level.OK and idle.values['rate hz'] == 'n/a'


def test_a_cloud_beside_the_image_is_reported(warnings):
    cloud = SideInput('cloud', lambda kind, text: warnings.append(text))
    assert 'points in the image' not in cloud.status('front', '', 1.0, active=True).values
    for in_image, level in ((0, Level.WARN), (3, Level.OK)):
        cloud.note_points(in_image)
        status = cloud.status('front', '', 1.0, active=True)
        assert status.level == level and status.values['points in the image'] == str(in_image)
        assert ('check the transform' in status.message) == (in_image == 0)
    assert len(warnings) == 1


def test_a_calibration_is_used_until_it_changes():
    calibration = CalibrationInput()
    with pytest.raises(RefusedError, match='no camera_info has arrived') as error:
        calibration.model((480, 640))
    assert error.value.reason is Mismatch.NO_INFO
    calibration.receive(camera_info(), rectified=False)
    model = calibration.model((480, 640))
    calibration.receive(camera_info(), rectified=False)  # drivers send it with each image
    assert calibration.model((480, 640)) is model
    calibration.receive(camera_info(p=(float('nan'),) * 12), rectified=False)  # not used
    assert calibration.model((480, 640)) is model
    calibration.receive(camera_info(d=(0.1, 0, 0, 0, 0)), rectified=False)
    assert calibration.model((480, 640)) is not model


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'k': (0.0,) * 9}, 'no focal length'),
        ({'size': (240, 320)}, 'for images of 320 x 240, the image has 640 x 480; remap'),
        ({'size': (960, 1280), 'roi': (0, 0, 480, 600)}, 'for images of 600 x 480'),
        ({'k': (float('nan'), *PINHOLE[1:])}, 'finite'),
    ],
)
def test_a_calibration_that_does_not_fit_is_refused(changes, words):
    calibration = CalibrationInput()
    calibration.receive(camera_info(**changes), rectified=False)
    for _ in range(2):
        with pytest.raises(RefusedError, match=words) as error:
            calibration.model((480, 640))
        assert error.value.reason is Mismatch.BAD_INFO


def test_binning_makes_a_calibration_fit():
    calibration = CalibrationInput()
    calibration.receive(camera_info(size=(960, 1280), binning=(2, 2)), rectified=False)
    assert calibration.model((480, 640)).size == (480, 640)
