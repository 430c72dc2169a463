# SPDX-License-Identifier: Apache-2.0
"""Log of the network's outputs, also after an interrupted write."""

from pathlib import Path

import numpy as np
import pytest

from panoptic_ros.core.model_info import Outputs
from panoptic_ros.replay.outputs_log import InferenceError, LoggedBackend


class Counting:
    """Backend with different outputs at each call, which fails at the fourth."""

    name, device, precision, fallback_reason = 'counting', 'cpu', 'fp32', ''

    def __init__(self) -> None:
        self.calls = 0

    def run(self, image, thresholds):
        n = self.calls = self.calls + 1
        if n == 4:
            raise MemoryError('no room')
        rng = np.random.default_rng(n)
        return Outputs(
            rng.integers(0, 3, (4, 6), np.int32),
            rng.integers(0, 9, (4, 6), np.uint8),
            np.arange(2, dtype=np.int32),
            rng.random(2).astype(np.float32),
            rng.random((2, 4)).astype(np.float32),
            rng.random((2, 2)).astype(np.float32),
            np.array([n, 5], np.int32),
            rng.random((2, 3)).astype(np.float32),
            np.array([True, False]),
            rng.integers(0, 256, (4, 6), np.uint8),
        )


def ask(backend: LoggedBackend):
    try:
        return backend.run(None, {})
    except InferenceError as error:
        return str(error)


def same(a, b) -> bool:
    if isinstance(a, str) or isinstance(b, str):
        return a == b
    return all(x.dtype == y.dtype and np.array_equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.fixture
def whole(tmp_path):
    """Return six answers, and the log of the first five."""
    with LoggedBackend(Counting(), tmp_path / 'log') as backend:
        answers = [ask(backend) for _ in range(5)]
    other = Counting()
    other.calls = 5
    return [*answers, other.run(None, {})], (tmp_path / 'log').read_bytes()


def test_what_was_run_is_not_run_again(tmp_path, whole):
    answers, _ = whole
    behind = Counting()
    behind.calls = 5
    with LoggedBackend(behind, tmp_path / 'log') as backend:
        assert backend.left == 5
        given = [ask(backend) for _ in range(6)]
        assert behind.calls == 6
    assert all(map(same, given, answers))
    assert answers[3] == 'MemoryError: no room'  # failed then, fails again
    with LoggedBackend(behind, tmp_path / 'log') as backend:
        assert backend.left == 6
        assert all(same(ask(backend), answer) for answer in answers)


def test_a_log_that_is_cut_anywhere_gives_what_is_whole(tmp_path, whole):
    answers, data = whole
    path = tmp_path / 'cut'
    kept = []
    for size in range(0, len(data), 53):
        path.write_bytes(data[:size])
        with LoggedBackend(Counting(), path) as backend:
            kept.append(backend.left)
            assert all(same(ask(backend), answers[i]) for i in range(backend.left))
    assert kept == sorted(kept)
    assert set(kept) == set(range(5))


def test_a_log_with_a_wrong_byte_ends_before_it(tmp_path, whole):
    _, data = whole
    path = tmp_path / 'wrong'
    path.write_bytes(data[:100] + bytes([data[100] ^ 1]) + data[101:])
    with LoggedBackend(Counting(), path) as backend:
        assert backend.left == 0
    assert path.read_bytes() == b''


@pytest.mark.parametrize(
    'tail',
    [
        bytes(4096),  # as a power cut leaves it
        b'\xff' * 8 + bytes(4) + b'rest',  # a size that no memory holds
        (10**9).to_bytes(8, 'little') + bytes(4),
    ],
)
def test_a_tail_that_is_no_record_is_cut_off(tmp_path, whole, tail):
    _, data = whole
    (tmp_path / 'log').write_bytes(data + tail)
    with LoggedBackend(Counting(), tmp_path / 'log') as backend:
        assert backend.left == 5
    assert (tmp_path / 'log').read_bytes() == data


def test_a_full_disk_is_no_failure_of_the_backend(tmp_path):
    with (
        pytest.raises(OSError, match=r'No space left on device: .*log'),
        LoggedBackend(Counting(), tmp_path / 'log') as backend,
    ):
        backend._file.close()
        backend._file = Path('/dev/full').open('wb')  # noqa: SIM115
        backend.run(None, {})
