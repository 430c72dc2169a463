# SPDX-License-Identifier: Apache-2.0
"""Names of cameras, and parameters of one camera."""

import pytest

from panoptic_ros.node.camera_settings import (
    check_cameras,
    check_changes,
    describe_unknown,
    find_setting,
    merge,
    settings_for,
    topic_prefix,
)
from panoptic_ros.node.model_settings import check_settings
from panoptic_ros.node.parameter_file import read_parameters
from panoptic_ros.node.parameters import BY_NAME, PARAMETERS, PER_CAMERA

CAMERAS = ('front', 'rear')


@pytest.mark.parametrize('names', [('camera',), CAMERAS, ('robot/front', 'robot/rear', 'c2_x')])
def test_usable_names_are_accepted(names):
    check_cameras(names)


@pytest.mark.parametrize(
    ('names', 'reason'),
    [
        ((), 'at least one camera, got none$'),
        (('front', 'front'), 'different names, got front twice$'),
        (('front', '2nd'), "begin with a letter, as parts of topics, got '2nd'$"),
        (('front-left',), "got 'front-left'"),
        (('/front',), "got '/front'"),
        (('front/',), "got 'front/'"),
        (('a__b',), "got 'a__b'"),  # ROS refuses it in a topic
        (('a b\n',), 'single _ that begin with a letter'),
        (('tracker',), 'a camera tracker, as parameters are called tracker.<name>$'),
        (('qos_overrides',), 'a camera qos_overrides'),
    ],
)
def test_other_names_are_refused_with_the_reason(names, reason):
    with pytest.raises(ValueError, match=reason) as caught:
        check_cameras(names)
    assert '\n' not in str(caught.value)


def test_no_usable_camera_name_gives_a_parameter_two_meanings():
    for name in BY_NAME:
        group = name.partition('.')[0]
        if group != name:
            with pytest.raises(ValueError, match='parameters are called'):
                check_cameras([group])


def test_topics_of_a_single_camera_have_no_prefix():
    assert topic_prefix('front', ['front']) == ''
    assert topic_prefix('front', CAMERAS) == 'front/'


def test_what_all_cameras_share_is_not_per_camera():
    """What the model depends on, and what happens before cameras exist."""
    assert {parameter.name for parameter in PARAMETERS} - PER_CAMERA == {
        'autostart',
        'model',
        'backend',
        'device',
        'allow_cpu',
        'precision',
        'engine_cache_dir',
        'load_timeout_s',
        'cameras',
        'class_colors',
        'labels.remap',
    }


def test_the_value_of_a_camera_takes_precedence():
    settings = read_parameters(None) | {'max_rate_hz': 20.0, 'front.max_rate_hz': 5.0}
    assert settings_for('front', settings)['max_rate_hz'] == 5
    assert settings_for('rear', settings)['max_rate_hz'] == 20
    assert set(settings_for('front', settings)) == set(BY_NAME)


def test_a_parameter_of_a_camera_is_declared_like_that_of_all():
    setting = find_setting('front.tracker.min_hits', CAMERAS)
    assert (setting.name, setting.minimum) == ('front.tracker.min_hits', 1)
    with pytest.raises(ValueError, match=r'^front.tracker.min_hits must be an integer from 1'):
        setting.check(0)


@pytest.mark.parametrize(
    ('name', 'comment'),
    [
        ('front.max_rate', 'front.max_rate (did you mean front.max_rate_hz?)'),
        ('left.max_rate_hz', 'left.max_rate_hz (the cameras are front, rear)'),
        ('front.model', 'front.model (all cameras share model)'),
        ('front.cameras', 'front.cameras (all cameras share cameras)'),
        ('front.', 'front.'),
    ],
)
def test_unknown_names_of_cameras_are_reported(name, comment):
    assert find_setting(name, CAMERAS) is None
    assert describe_unknown([name, 'front.max_rate_hz'], CAMERAS).startswith(comment)


def test_names_of_others_are_left_alone():
    assert check_changes({'use_sim_time': True, 'max_age_ms': 3}, True, CAMERAS) == {
        'max_age_ms': 3.0
    }


def test_what_is_read_only_may_change_before_configure():
    changes = {'input_transport': 'raw'}
    assert check_changes(changes, False, CAMERAS) == changes
    with pytest.raises(ValueError, match='input_transport is read-only while'):
        check_changes(changes, True, CAMERAS)


def test_a_value_of_a_camera_can_be_changed_and_removed():
    settings = {'max_rate_hz': 1.0}
    changes = check_changes({'front.max_rate_hz': 3, 'left.max_rate_hz': 4}, True, CAMERAS)
    settings = merge(settings, changes)
    assert settings == {'max_rate_hz': 1.0, 'front.max_rate_hz': 3.0}
    assert merge(settings, check_changes({'front.max_rate_hz': None}, True, CAMERAS)) == {
        'max_rate_hz': 1.0
    }
    with pytest.raises(ValueError, match=r'front.input_transport is read-only while'):
        check_changes({'front.input_transport': None}, True, CAMERAS)


def test_values_of_a_camera_that_contradict_each_other_are_refused():
    settings = read_parameters(None) | {'cameras': CAMERAS}
    check_settings(settings)
    weights = {f'rear.tracker.{name}_weight': 0.0 for name in ('embedding', 'iou')}
    with pytest.raises(ValueError, match=r'^camera rear: .*must not both be 0$'):
        check_settings(settings | weights)


def test_a_file_sets_parameters_of_its_cameras(tmp_path):
    file = tmp_path / 'node.yaml'
    file.write_text(
        '/**: {ros__parameters: {cameras: [front, rear], max_rate_hz: 8, '
        'rear: {max_rate_hz: 2, tracker: {min_hits: 1}}}}'
    )
    settings = read_parameters(file)
    assert settings_for('front', settings)['max_rate_hz'] == 8
    assert settings_for('rear', settings)['max_rate_hz'] == 2
    assert settings_for('rear', settings)['tracker.min_hits'] == 1


@pytest.mark.parametrize(
    ('text', 'reason'),
    [
        ('{cameras: [a, a]}', 'got a twice'),
        ('{cameras: []}', 'got none'),
        ('{front: {max_rate_hz: 2}}', 'does not have these parameters: front.max_rate_hz'),
        ('{cameras: [front], front: {max_rate_hz: -1}}', 'front.max_rate_hz must be a number'),
        ('{cameras: [front], front: {model: x}}', 'all cameras share model'),
    ],
)
def test_what_is_wrong_with_the_cameras_of_a_file_is_reported(tmp_path, text, reason):
    file = tmp_path / 'node.yaml'
    file.write_text(f'/**: {{ros__parameters: {text}}}')
    with pytest.raises(ValueError, match=reason):
        read_parameters(file)
