# SPDX-License-Identifier: Apache-2.0
import threading
import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from panoptic_ros.node.counts import Counts, Drop
from panoptic_ros.node.worker import Worker


def adds_up(counts: Counts) -> bool:
    return counts.received == (counts.published + sum(counts.dropped.values()) + counts.in_flight)


def wait_until(condition, timeout_s: float = 20.0) -> None:
    end_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end_s, 'timed out'
        time.sleep(0.001)


class Gate:
    """Callback that records each image and blocks until it is released."""

    def __init__(self) -> None:
        self.images, self.release = [], threading.Semaphore(0)

    def __call__(self, image) -> Drop | None:
        self.images.append(image)
        self.release.acquire()
        return image if isinstance(image, Drop) else None


@pytest.fixture
def gate():
    return Gate()


@pytest.fixture
def worker(gate):
    worker = Worker('test')
    worker.start(gate)
    yield worker
    gate.release.release(1000)
    assert worker.stop(20)


def test_a_newer_image_replaces_a_waiting_one(worker, gate):
    worker.put(1)
    wait_until(lambda: gate.images == [1])
    for frame in (2, 3, 4):
        worker.put(frame)
    assert worker.counts().in_flight == 2  # one in work, one waits
    assert worker.counts().dropped[Drop.SUPERSEDED] == 2
    gate.release.release(2)
    wait_until(lambda: worker.counts().published == 2)
    assert gate.images == [1, 4]
    assert worker.counts() == Counts(4, 2, {**dict.fromkeys(Drop, 0), Drop.SUPERSEDED: 2}, 0)


@pytest.mark.parametrize('reason', Drop)
def test_a_reason_is_counted_as_itself(worker, gate, reason):
    worker.put(reason)
    gate.release.release()
    wait_until(lambda: worker.counts().in_flight == 0)
    assert worker.counts() == Counts(1, 0, {**dict.fromkeys(Drop, 0), reason: 1}, 0)


def test_an_exception_is_counted_and_the_next_frame_is_handled(caplog):
    def process(frame):
        if frame == 'bad':
            raise RuntimeError('on purpose')

    worker = Worker('test')
    worker.start(process)
    worker.put('bad')
    wait_until(lambda: worker.counts().dropped[Drop.INFERENCE_FAILED] == 1)
    worker.put('good')
    wait_until(lambda: worker.counts().published == 1)
    assert worker.stop(20)
    assert 'on purpose' in caplog.text


def test_stopping_waits_for_the_current_image_and_drops_the_waiting_one(worker, gate):
    worker.put(1)
    wait_until(lambda: gate.images == [1])
    worker.put(2)
    assert not worker.stop(0.01)
    with pytest.raises(RuntimeError, match='still being processed'):
        worker.start(gate)
    assert adds_up(worker.counts())
    gate.release.release()
    assert worker.stop(20)
    assert gate.images == [1]
    assert (worker.counts().published, worker.counts().dropped[Drop.SUPERSEDED]) == (1, 1)


def test_a_stopped_worker_accepts_no_image_and_can_be_started_again(worker, gate):
    assert worker.stop(20)
    worker.put(1)
    assert worker.counts().dropped[Drop.SUPERSEDED] == 1
    worker.start(gate)
    worker.put(2)
    gate.release.release()
    wait_until(lambda: worker.counts().published == 1)
    assert gate.images == [2]


def test_the_rate_is_limited():
    times = []
    worker = Worker('test')
    worker.min_interval_s = 0.05
    worker.start(lambda frame: times.append(time.monotonic()))
    while len(times) < 5:
        worker.put(None)
        time.sleep(0.002)
    assert worker.stop(20)
    assert min(b - a for a, b in pairwise(times)) >= 0.049
    assert worker.counts().dropped[Drop.SUPERSEDED] > 0


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.one_of(st.none(), st.sampled_from(Drop), st.just('raise'), st.just('pause')),
        max_size=30,
    ),
    st.integers(0, 30),
)
def test_counts_add_up_at_every_moment(results, stop_at):
    """Images with any result, stopped at any time, while another thread reads the counts."""

    def process(frame):
        if frame == 'raise':
            raise RuntimeError('on purpose')
        return frame if isinstance(frame, Drop) else None

    worker, wrong, ended = Worker('test'), [], threading.Event()

    def watch():
        while not ended.is_set():
            counts = worker.counts()
            if not adds_up(counts) or not 0 <= counts.in_flight <= 2:
                wrong.append(counts)

    watcher = threading.Thread(target=watch)
    watcher.start()
    worker.start(process)
    for place, result in enumerate(results):
        if place == stop_at:
            worker.stop(20)
        if result == 'pause':
            time.sleep(0.001)
        else:
            worker.put(result)
    worker.stop(20)
    ended.set()
    watcher.join()
    assert not wrong
    counts = worker.counts()
    assert counts.received == sum(result != 'pause' for result in results)
    assert counts.in_flight == 0
    assert adds_up(counts)


def test_the_newest_of_many_is_never_lost():
    done = []
    worker = Worker('test')
    worker.start(done.append)
    for frame in range(2000):
        worker.put(frame)
    wait_until(lambda: worker.counts().in_flight == 0)
    assert worker.stop(20)
    assert done[-1] == 1999
    assert done == sorted(done)
