# SPDX-License-Identifier: Apache-2.0
"""Texts of the page name nobody."""

import pytest

from panoptic_ros.doctor import privacy


@pytest.fixture(autouse=True)
def ada(monkeypatch):
    monkeypatch.setenv('HOME', '/srv/people/ada')
    monkeypatch.setattr(privacy.getpass, 'getuser', lambda: 'ada')


@pytest.mark.parametrize(
    ('text', 'shown'),
    [
        ('/srv/people/ada/ws/install', '~/ws/install'),
        ('/srv/people/ada', '~'),
        ('/srv/people/adam/x', '/srv/people/adam/x'),
        ('a:/home/bob/ws:/opt', 'a:~/ws:/opt'),
        ("No such file: '/Users/eve/p.xml'", "No such file: '~/p.xml'"),
        ('/media/ada/disk', '/media/<user>/disk'),
        ('adapter ada 4', 'adapter ada 4'),
        ('/opt/ros/jazzy', '/opt/ros/jazzy'),
    ],
)
def test_homes_and_names_are_removed(text, shown):
    assert privacy.redact({'a': [text, 1, None]}) == {'a': [shown, 1, None]}
    assert privacy.redact({text: 1.5}) == {shown: 1.5}


def test_a_user_without_a_name_or_home(monkeypatch):
    def fail(*_):
        raise KeyError('uid not found: 1234')

    monkeypatch.setattr(privacy.getpass, 'getuser', fail)
    monkeypatch.setenv('HOME', '/')
    assert privacy.redact('/opt/x') == '/opt/x'


def test_only_listed_variables_are_shown():
    environ = {
        'ROS_DOMAIN_ID': '5',
        'CYCLONEDDS_URI': '<x address="10.0.0.1"/>',
        'ROS_STATIC_PEERS': '',
        'AWS_SECRET': 'x',
    }
    assert privacy.shown_variables(environ) == {
        'ROS_DOMAIN_ID': '5',
        'CYCLONEDDS_URI': privacy.HIDDEN,
    }
