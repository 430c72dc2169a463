# SPDX-License-Identifier: Apache-2.0
"""Run of the tries of one target in processes that may crash, hang or be out of memory."""

import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from fuzz.attempt import MAX_SECONDS, Outcome
from fuzz.worker import work

START_SECONDS = 120.0
"""Time for a process to import its libraries."""

IDLE_FACTOR = 6
"""A try that does not use the processor is a hang after so many times the limit."""


def run(name: str, seed: int, first: int, last: int) -> Iterator[tuple[int, Outcome]]:
    """Yield the number and the outcome of the tries `first` to `last` - 1 of a target.

    A process that crashes or hangs is a finding of its try; the next process takes the next one.
    """
    number = first
    while number < last:
        for outcome in _run_process(name, seed, number, last):
            yield number, outcome
            number += 1


def _run_process(name: str, seed: int, first: int, last: int) -> Iterator[Outcome]:
    """Yield the outcomes of the tries of one process, of which the last may be its end."""
    context = multiprocessing.get_context('spawn')
    receiver, sender = context.Pipe(duplex=False)
    with tempfile.TemporaryDirectory(prefix='fuzz-log-') as folder:
        log = Path(folder, 'log')
        process = context.Process(target=work, args=(name, seed, first, last, str(log), sender))
        process.start()
        sender.close()
        try:
            limit_s = START_SECONDS
            while True:
                reason = _wait(receiver, process, limit_s)
                if reason:
                    yield Outcome(True, reason, _tail(log))
                    return
                try:
                    message = receiver.recv()
                except EOFError:
                    process.join()
                    if process.exitcode:
                        yield Outcome(True, f'crash: {_end_of(process.exitcode)}', _tail(log))
                    return
                limit_s = MAX_SECONDS
                if message is not None:
                    yield message[1]
        finally:
            process.kill()
            process.join()
            receiver.close()


def _wait(receiver: object, process: multiprocessing.Process, limit_s: float) -> str:
    """Wait for a message or the end of a process; return why it is given up, or an empty text."""
    start_s, start_cpu_s = time.monotonic(), _cpu_seconds(process.pid)
    while not receiver.poll(0.5):
        used_s = _cpu_seconds(process.pid) - start_cpu_s
        if used_s > limit_s or time.monotonic() - start_s > IDLE_FACTOR * limit_s:
            os.kill(process.pid, signal.SIGABRT)  # faulthandler writes the stack
            process.join(5)
            return 'hang'
    return ''


def _cpu_seconds(pid: int) -> float:
    try:
        fields = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def _end_of(status: int) -> str:
    return signal.Signals(-status).name if status < 0 else f'status {status}'


def _tail(log: Path) -> str:
    return log.read_text(errors='replace')[-4000:] if log.exists() else ''
