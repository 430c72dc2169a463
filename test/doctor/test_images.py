# SPDX-License-Identifier: Apache-2.0
"""Judgement of the trial of the transport; test_command.py has a real one."""

import time

import pytest

from panoptic_ros.doctor import images

DONE = {'state': images.WORKS, 'reason': '', 'sent': 20, 'received': 20, 'p50_ms': 9.0}


@pytest.mark.parametrize(
    ('changes', 'middleware', 'words', 'remedy', 'is_problem'),
    [
        ({}, 'rmw_fastrtps_cpp', None, None, None),
        ({'state': images.LEFT_OUT, 'sent': None}, None, None, None, None),
        ({'received': 18}, 'rmw_fastrtps_cpp', 'only 18 of 20', 'shared memory', False),
        ({'received': 2}, 'rmw_fastrtps_cpp', 'only 2 of 20', 'shared memory', True),
        ({'sent': 0, 'received': 0}, 'rmw_fastrtps_cpp', 'did not find', 'multicast', True),
        ({'sent': 0, 'received': 0}, 'rmw_zenoh_cpp', 'did not find', 'rmw_zenohd', True),
        ({'state': images.FAILED, 'reason': 'no answer'}, 'x', 'no answer', 'quiet', False),
    ],
)
def test_lost_images_are_judged(changes, middleware, words, remedy, is_problem):
    found = [*images.image_findings(DONE | changes, middleware)]
    if words is None:
        assert not found
        return
    [finding] = found
    assert words in finding.text and remedy in finding.remedy
    assert finding.is_problem == is_problem


def test_the_trial_stays_away_from_the_robot(monkeypatch):
    """Its domain is another one and it reaches this machine only; the user's profile is kept."""
    seen, ended = [], []

    class Probe:
        def __init__(self, command, timeout_s, environ):
            seen.append((command[-1], timeout_s, environ))

        result = images.Probe(['true'], 5).result

        def kill(self):
            ended.append(self)

    monkeypatch.setattr(images, 'Probe', Probe)
    environ = {
        'ROS_DOMAIN_ID': '250',
        'ROS_AUTOMATIC_DISCOVERY_RANGE': 'SUBNET',
        'ROS_STATIC_PEERS': '10.0.0.9',
        'FASTRTPS_DEFAULT_PROFILES_FILE': 'own.xml',
    }
    facts = images.image_facts({'middleware': 'x'}, time.monotonic() + 3, environ)
    assert facts['state'] == images.FAILED
    assert [half for half, _, _ in seen] == ['receive', 'send'] and len(ended) == 2
    for _, timeout_s, variables in seen:
        assert timeout_s <= 3
        assert variables['ROS_DOMAIN_ID'] != '250' and 'ROS_STATIC_PEERS' not in variables
        assert variables['ROS_AUTOMATIC_DISCOVERY_RANGE'] == 'LOCALHOST'
        assert variables['FASTRTPS_DEFAULT_PROFILES_FILE'] == 'own.xml'
    assert images.image_facts({'middleware': None}, 0.0)['state'] == images.LEFT_OUT
