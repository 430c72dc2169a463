# SPDX-License-Identifier: Apache-2.0
import pytest

pytest.importorskip('rclpy', reason='needs ROS 2: pip install "panoptic_ros[ros]"')

from panoptic_ros.node.counts import Counts, Drop
from panoptic_ros.node.diagnostics import (
    Level,
    diagnostic_array,
    input_status,
    memory_status,
    model_status,
    timing_status,
    tracking_status,
)
from panoptic_ros.node.memory import is_out_of_memory
from panoptic_ros.node.meters import RateMeter, Timings
from panoptic_ros.ros.message_types import RosTypes

LIMITS = {
    'diagnostics.warn_latency_ms': 100.0,
    'diagnostics.error_latency_ms': 500.0,
    'diagnostics.warn_rate_hz': 5.0,
}
NO_DROPS = dict.fromkeys(Drop, 0)
LOADED = {
    'name': 'city',
    'hash': 'abc',
    'family': 'hle',
    'backend': 'onnxruntime/cpu',
    'device': 'cpu',
    'precision': 'fp32',
    'engine': 'ready',
}


def input_(received=10, silent_s=0.1, last_bad='', age_s=0.05):
    return input_status(
        'front', Counts(received, received, NO_DROPS, 0), 10.0, age_s, silent_s, '/image', last_bad
    )


@pytest.mark.parametrize(
    ('status', 'level', 'text'),
    [
        (input_(), Level.OK, 'ok'),
        (input_(silent_s=None), Level.OK, 'not subscribed'),
        (input_(silent_s=0.9), Level.OK, 'ok'),
        (input_(silent_s=1.1), Level.WARN, 'no image for 1 s'),
        (input_(silent_s=5.1), Level.ERROR, 'no image for 5 s'),
        (input_(received=0, silent_s=6), Level.ERROR, 'no image yet on /image'),
        (input_(last_bad='odd'), Level.WARN, 'bad image: odd'),
        (input_(last_bad='odd', silent_s=2), Level.WARN, 'bad image: odd; no image for 2 s'),
        (input_(last_bad='odd', silent_s=9), Level.ERROR, 'no image for 9 s'),
        (model_status('active', '', LOADED, ''), Level.OK, 'ok'),
        (model_status('active', '', LOADED, 'no GPU'), Level.WARN, 'no GPU'),
        (
            model_status('active', 'the old model stays', LOADED, ''),
            Level.WARN,
            'the old model stays',
        ),
        (model_status('unconfigured', 'no file', {}, ''), Level.ERROR, 'no file'),
        (model_status('unconfigured', '', {}, ''), Level.WARN, 'no model is loaded'),
        (memory_status('cpu', 0), Level.OK, 'ok'),
        (memory_status('cpu', 2), Level.WARN, '2 frames failed for lack of memory'),
    ],
)
def test_levels(status, level, text):
    assert (status.level, status.message) == (level, text)


@pytest.mark.parametrize(
    ('latency_ms', 'rate_hz', 'active', 'level', 'text'),
    [
        (99, 10.0, True, Level.OK, 'ok'),
        (101, 10.0, True, Level.WARN, 'p95 of the latency is 101 ms'),
        (501, 10.0, True, Level.ERROR, 'p95 of the latency is 501 ms'),
        (50, 4.9, True, Level.WARN, '4.9 images/s are published'),
        (50, None, True, Level.OK, 'ok'),  # one frame has no rate
        (900, 0.0, False, Level.OK, 'ok'),  # an idle node is not too slow
        (None, None, True, Level.OK, 'ok'),  # before the first frame
    ],
)
def test_timing_levels(latency_ms, rate_hz, active, level, text):
    timings = Timings(('end to end',))
    if latency_ms is not None:
        timings.add('end to end', latency_ms / 1e3)
    status = timing_status(timings, rate_hz, LIMITS, active)
    assert (status.level, status.message) == (level, text)


def test_before_the_first_frame_all_is_not_available():
    timing = timing_status(Timings(('infer', 'end to end')), None, LIMITS, True)
    assert set(timing.values.values()) == {'n/a'}
    assert set(tracking_status(None).values.values()) == {'n/a'}
    silent = input_(received=0, age_s=None)
    assert silent.values['age s'] == 'n/a'
    assert model_status('unconfigured', '', {}, '').values['backend'] == 'n/a'


def test_quantiles_are_of_the_last_window():
    timings = Timings(('infer',))
    for ms in [10_000] * 50 + list(range(1, 101)):
        timings.add('infer', ms / 1e3)
    assert timings.values() == {
        'infer p50 ms': '50.50',
        'infer p95 ms': '95.05',
        'infer max ms': '100.00',
    }


@pytest.mark.parametrize(
    ('times', 'now', 'expected'),
    [
        ([], 0.0, None),
        ([1.0], 1.0, None),
        ([1.0, 1.1, 1.2], 1.2, 10.0),
        ([1.0, 1.1, 1.2], 30.0, 0.0),  # silence
        ([100.0, 100.5, 3.0, 3.5], 3.5, 2.0),  # a clock that was set back
        ([1.0, 1.0], 1.0, 0.0),  # a clock that stands still
    ],
)
def test_rates(times, now, expected):
    meter = RateMeter()
    for time_s in times:
        meter.add(time_s)
    rate = meter.rate_hz(now)
    assert rate == expected if expected is None else rate == pytest.approx(expected)


@pytest.mark.parametrize(
    ('error', 'expected'),
    [
        (MemoryError(), True),
        (RuntimeError('CUDA out of memory. Tried to allocate'), True),
        (RuntimeError('Failed to allocate memory for requested buffer of size 1'), True),
        (RuntimeError('shape mismatch'), False),
    ],
)
def test_out_of_memory_is_told_from_other_failures(error, expected):
    assert is_out_of_memory(error) == expected


def test_the_message_has_one_status_per_task():
    message = diagnostic_array(
        RosTypes(), [input_(silent_s=9)], 'panoptic_node', 'cpu', input_stamp()
    )
    (status,) = message.status
    assert status.name == 'panoptic_node: input/front'
    assert (status.level, status.hardware_id) == (b'\x02', 'cpu')
    values = {value.key: value.value for value in status.values}
    assert values['received'] == '10'
    assert values['dropped bad image'] == '0'
    assert message.header.stamp.sec == 5


def input_stamp():
    from builtin_interfaces.msg import Time

    return Time(sec=5)
