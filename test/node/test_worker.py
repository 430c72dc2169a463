# SPDX-License-Identifier: Apache-2.0
import threading
import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from panoptic_ros.node.counts import Counts, Drop
from panoptic_ros.node.worker import Worker

CAMERA = 'camera'


def one_by_one(process):
    """Return what processes images together, each by itself."""
    return lambda images: [process(image) for _, image in images]


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
    worker = Worker([CAMERA])
    worker.start(one_by_one(gate))
    yield worker
    gate.release.release(1000)
    assert worker.stop(20)


def test_a_newer_image_replaces_a_waiting_one(worker, gate):
    worker.put(CAMERA, 1)
    wait_until(lambda: gate.images == [1])
    for frame in (2, 3, 4):
        worker.put(CAMERA, frame)
    assert worker.counts(CAMERA).in_flight == 2  # one in work, one waits
    assert worker.counts(CAMERA).dropped[Drop.SUPERSEDED] == 2
    gate.release.release(2)
    wait_until(lambda: worker.counts(CAMERA).published == 2)
    assert gate.images == [1, 4]
    assert worker.counts(CAMERA) == Counts(4, 2, {**dict.fromkeys(Drop, 0), Drop.SUPERSEDED: 2}, 0)


@pytest.mark.parametrize('reason', Drop)
def test_a_reason_is_counted_as_itself(worker, gate, reason):
    worker.put(CAMERA, reason)
    gate.release.release()
    wait_until(lambda: worker.counts(CAMERA).in_flight == 0)
    assert worker.counts(CAMERA) == Counts(1, 0, {**dict.fromkeys(Drop, 0), reason: 1}, 0)


def test_an_exception_is_counted_and_the_next_frame_is_handled(caplog):
    def process(frame):
        if frame == 'bad':
            raise RuntimeError('on purpose')

    worker = Worker([CAMERA])
    worker.start(one_by_one(process))
    worker.put(CAMERA, 'bad')
    wait_until(lambda: worker.counts(CAMERA).dropped[Drop.INFERENCE_FAILED] == 1)
    worker.put(CAMERA, 'good')
    wait_until(lambda: worker.counts(CAMERA).published == 1)
    assert worker.stop(20)
    assert 'on purpose' in caplog.text


def test_stopping_waits_for_the_current_image_and_drops_the_waiting_one(worker, gate):
    worker.put(CAMERA, 1)
    wait_until(lambda: gate.images == [1])
    worker.put(CAMERA, 2)
    assert not worker.stop(0.01)
    with pytest.raises(RuntimeError, match='still being processed'):
        worker.start(one_by_one(gate))
    assert adds_up(worker.counts(CAMERA))
    gate.release.release()
    assert worker.stop(20)
    assert gate.images == [1]
    assert (worker.counts(CAMERA).published, worker.counts(CAMERA).dropped[Drop.SUPERSEDED]) == (
        1,
        1,
    )


def test_a_stopped_worker_accepts_no_image_and_can_be_started_again(worker, gate):
    assert worker.stop(20)
    worker.put(CAMERA, 1)
    assert worker.counts(CAMERA).dropped[Drop.SUPERSEDED] == 1
    worker.start(one_by_one(gate))
    worker.put(CAMERA, 2)
    gate.release.release()
    wait_until(lambda: worker.counts(CAMERA).published == 1)
    assert gate.images == [2]


def test_the_rate_is_limited():
    times = []
    worker = Worker([CAMERA])
    worker.limit_rate(CAMERA, 20)
    worker.start(one_by_one(lambda frame: times.append(time.monotonic())))
    while len(times) < 5:
        worker.put(CAMERA, None)
        time.sleep(0.002)
    assert worker.stop(20)
    assert min(b - a for a, b in pairwise(times)) >= 0.049
    assert worker.counts(CAMERA).dropped[Drop.SUPERSEDED] > 0


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

    worker, wrong, ended = Worker([CAMERA]), [], threading.Event()

    def watch():
        while not ended.is_set():
            counts = worker.counts(CAMERA)
            if not adds_up(counts) or not 0 <= counts.in_flight <= 2:
                wrong.append(counts)

    watcher = threading.Thread(target=watch)
    watcher.start()
    worker.start(one_by_one(process))
    for place, result in enumerate(results):
        if place == stop_at:
            worker.stop(20)
        if result == 'pause':
            time.sleep(0.001)
        else:
            worker.put(CAMERA, result)
    worker.stop(20)
    ended.set()
    watcher.join()
    assert not wrong
    counts = worker.counts(CAMERA)
    assert counts.received == sum(result != 'pause' for result in results)
    assert counts.in_flight == 0
    assert adds_up(counts)


def test_the_newest_of_many_is_never_lost():
    done = []
    worker = Worker([CAMERA])
    worker.start(one_by_one(done.append))
    for frame in range(2000):
        worker.put(CAMERA, frame)
    wait_until(lambda: worker.counts(CAMERA).in_flight == 0)
    assert worker.stop(20)
    assert done[-1] == 1999
    assert done == sorted(done)


def test_a_slow_camera_beside_a_fast_one_loses_nothing():
    """60 Hz and 5 Hz in real time, with a model that takes 40 ms."""
    latencies_s = []

    def process(images):
        time.sleep(0.04)
        latencies_s.extend(time.monotonic() - sent for name, sent in images if name == 'slow')
        return [None] * len(images)

    worker = Worker(['fast', 'slow'])
    worker.start(process)
    start_s = time.monotonic()
    for i in range(180):
        time.sleep(max(0.0, start_s + i / 60 - time.monotonic()))
        worker.put('fast', time.monotonic())
        if i % 12 == 0:
            worker.put('slow', time.monotonic())
    wait_until(lambda: not any(worker.counts(name).in_flight for name in ('fast', 'slow')))
    assert worker.stop(20)
    slow, fast = worker.counts('slow'), worker.counts('fast')
    assert (slow.received, slow.published) == (15, 15)
    assert fast.received == 180 == fast.published + fast.dropped[Drop.SUPERSEDED]
    assert fast.published > 15
    assert fast.dropped[Drop.SUPERSEDED] > 50


def test_images_that_wait_go_together_and_each_has_its_own_result():
    together, release = [], threading.Semaphore(0)

    def process(images):
        together.append(dict(images))
        release.acquire()
        return [image if isinstance(image, Drop) else None for _, image in images]

    worker = Worker('abc')
    worker.most_together = 2
    worker.start(process)
    worker.put('a', 1)
    wait_until(lambda: together)
    for name, image in (('c', 2), ('a', Drop.BAD_IMAGE), ('b', 3), ('c', 4)):
        worker.put(name, image)
    release.release(3)
    wait_until(lambda: not any(worker.counts(name).in_flight for name in 'abc'))
    assert worker.stop(20)
    assert together == [{'a': 1}, {'c': 4, 'b': 3}, {'a': Drop.BAD_IMAGE}]  # a had a turn
    assert [worker.counts(name).published for name in 'abc'] == [1, 1, 1]
    assert worker.counts('a').dropped[Drop.BAD_IMAGE] == 1
    assert worker.counts('c').dropped[Drop.SUPERSEDED] == 1


def test_an_exception_counts_for_all_images_that_went_together():
    def process(images):
        raise RuntimeError('on purpose')

    worker = Worker('ab')
    worker.most_together = 2
    worker.start(process)
    with worker._changed:  # so that both wait before the thread takes one
        worker.put('a', 1)
        worker.put('b', 2)
    wait_until(lambda: not any(worker.counts(name).in_flight for name in 'ab'))
    assert worker.stop(20)
    assert all(worker.counts(name).dropped[Drop.INFERENCE_FAILED] == 1 for name in 'ab')


def test_a_limit_that_is_lifted_frees_the_image_that_waits():
    worker, done = Worker([CAMERA]), []
    worker.limit_rate(CAMERA, 0.001)
    worker.start(one_by_one(done.append))
    worker.put(CAMERA, 1)
    wait_until(lambda: done == [1])
    worker.put(CAMERA, 2)
    worker.limit_rate(CAMERA, 0)
    wait_until(lambda: done == [1, 2])
    assert worker.stop(20)
