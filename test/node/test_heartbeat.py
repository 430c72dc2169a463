# SPDX-License-Identifier: Apache-2.0
import threading
import time
from itertools import pairwise

from panoptic_ros.node.heartbeat import Heartbeat


def test_it_calls_at_once_and_then_once_in_each_period():
    times, enough = [], threading.Event()

    def action():
        times.append(time.monotonic())
        if len(times) == 4:
            enough.set()

    begin_s = time.monotonic()
    heartbeat = Heartbeat(action, 0.05, 'test')
    assert enough.wait(20)
    assert heartbeat.stop(20)
    assert times[0] - begin_s < 0.05
    assert min(b - a for a, b in pairwise(times)) >= 0.049
    count = len(times)
    time.sleep(0.1)
    assert len(times) == count


def test_a_failing_action_is_logged_once_and_called_again(caplog):
    calls, enough = [], threading.Event()

    def action():
        calls.append(1)
        if len(calls) == 5:
            enough.set()
        raise RuntimeError('on purpose')

    heartbeat = Heartbeat(action, 0.001, 'test')
    assert enough.wait(20)
    assert heartbeat.stop(20)
    assert caplog.text.count('RuntimeError: on purpose') == 1


def test_stopping_does_not_wait_for_an_action_that_hangs():
    release = threading.Event()
    heartbeat = Heartbeat(lambda: release.wait(20) and None, 0.001, 'test')
    assert not heartbeat.stop(0.01)
    release.set()
    assert heartbeat.stop(20)
