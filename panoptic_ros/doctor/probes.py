# SPDX-License-Identifier: Apache-2.0
"""Commands that run beside this process and are cut off when they take too long."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from panoptic_ros.core.text import one_line

MAX_OUTPUT = 200_000
"""Bytes of a command's output that are read."""


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    output: str
    errors: str

    failure: str
    """Why there is no complete output; empty if the command succeeded."""

    missing: bool = False
    """Whether the command does not exist."""

    cut_off: bool = False
    """Whether it was ended because it took too long."""

    @property
    def documents(self) -> list[Any]:
        """The lines of the output that are JSON objects."""
        found = []
        for line in self.output.splitlines():
            with suppress(ValueError):
                document = json.loads(line)
                if isinstance(document, dict):
                    found.append(document)
        return found

    @property
    def reason(self) -> str:
        """Why there is no complete output, with the last error on stderr."""
        if self.cut_off:
            return f'{self.failure}; repeat this first, since a slow disk may be the cause'
        lines = [line.strip() for line in self.errors.splitlines() if line.strip()]
        starts = [
            i for i, line in enumerate(lines) if re.match(r'[\w.]+(Error|Exception): ', line)
        ]
        last = lines[starts[-1] :] if starts else lines[-1:]  # a message may have several lines
        return one_line(': '.join([self.failure or 'no answer', *filter(None, [' '.join(last)])]))


class Probe:
    """Command that runs in a session of its own, so that its children can be ended with it."""

    def __init__(
        self, command: Sequence[str], timeout_s: float, environ: Mapping[str, str] | None = None
    ) -> None:
        """Start the command.

        Args:
            command: the program and its arguments.
            timeout_s: time until it is ended, seconds.
            environ: environment; None is that of this process.
        """
        self._name = command[0]
        self._timeout_s = timeout_s
        self._end_s = time.monotonic() + timeout_s
        self._output, self._errors = _buffer(), _buffer()
        self._process: subprocess.Popen | None = None
        self._error = OSError()
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=self._errors,
                start_new_session=True,
                env=environ,
            )
        except OSError as error:
            self._error = error

    @cached_property
    def result(self) -> Ended:
        """How the command ended; waits for it, and ends it when its time is over."""
        if self._process is None:
            missing = isinstance(self._error, FileNotFoundError)
            return Ended('', '', f'{self._name}: {self._error.strerror}', missing=missing)
        failure, cut_off = '', False
        try:
            code = self._process.wait(max(0.0, self._end_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            failure, cut_off = f'no answer within {self._timeout_s:.3g} s', True
        else:
            if code < 0:
                failure = f'ended by {_signal_name(-code)}'
            elif code:
                failure = f'exit status {code}'
        finally:
            self.kill()
        return Ended(_text(self._output), _text(self._errors), failure, cut_off=cut_off)

    def kill(self) -> None:
        """End the command and its children; one that hangs in a driver is left behind."""
        process, self._process = self._process, None  # once: the number may be given again
        if process is None:
            return
        with suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.5)


def python_module(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module with this interpreter."""
    return [sys.executable, '-m', module, *arguments]


def _buffer() -> int:
    """Open a file for a command's output; it is in memory if possible, as the disk may be full.

    A pipe would not do: a child that survives the command would keep it open. Some builds of
    Python have no files in memory.
    """
    if hasattr(os, 'memfd_create'):
        return os.memfd_create('output')
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _text(descriptor: int) -> str:
    try:
        return os.pread(descriptor, MAX_OUTPUT, 0).decode(errors='replace')
    finally:
        os.close(descriptor)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f'signal {number}'
