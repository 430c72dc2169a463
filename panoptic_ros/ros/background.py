# SPDX-License-Identifier: Apache-2.0
"""Long calls in threads of their own, awaited by callbacks without blocking the executor."""

from __future__ import annotations

import contextlib
import threading
import time
import weakref
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from rclpy.executors import Executor
from rclpy.task import Future

from panoptic_ros.core.text import reason_of

T = TypeVar('T')

POLL_S = 0.005


async def in_thread(function: Callable[[], T], name: str, executor: Executor | None) -> T:
    """Awaits a function that runs in a daemon thread.

    Args:
        function: the long call.
        name: of the thread.
        executor: runs the awaiting coroutine, and is woken at the end; None for `run_now`.

    Raises:
        RuntimeError: in one line, if the function raised.
    """
    # An exception would keep the frames, and so the objects, that it passed through.
    outcome: list[T] = []
    reason = ''
    ended = Future()
    # A call that never returns must not keep the node alive.
    waiting = weakref.ref(executor) if executor is not None else lambda: None

    def run() -> None:
        nonlocal reason
        try:
            outcome.append(function())
        except BaseException as error:  # also a library's sys.exit
            reason = reason_of(error)
        ended.set_result(None)
        if (awake := waiting()) is not None:
            with contextlib.suppress(Exception):  # it was shut down meanwhile
                awake.wake()

    threading.Thread(target=run, name=name, daemon=True).start()
    await ended
    if not outcome:
        raise RuntimeError(reason)
    return outcome.pop()


def run_now(coroutine: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine that awaits only `in_thread`, for callers that no executor serves."""
    while True:
        try:
            coroutine.send(None)
        except StopIteration as end:
            return end.value
        time.sleep(POLL_S)
