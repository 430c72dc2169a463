# SPDX-License-Identifier: Apache-2.0
"""SIGTERM as an exception, so that temporary files are removed and children end."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def exit_at_sigterm() -> Iterator[None]:
    """Leave the block at SIGTERM by SystemExit, status 143; for the main thread."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
