# SPDX-License-Identifier: Apache-2.0
"""Long calls in threads, which callbacks await without blocking the executor."""

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
    """Run a function in a daemon thread and await its result.

    Args:
        function: the long call.
        name: name of the thread.
        executor: executor of the awaiting coroutine, woken at the end; None for `run_now`.

    Raises:
        RuntimeError: if the function raised an exception; has its text.
    """
    # A text, since an exception would keep the objects of the frames that it passed through.
    results: list[T] = []
    reason = ''
    ended = Future()
    # A call that never returns must not keep the node alive.
    waiting = weakref.ref(executor) if executor is not None else lambda: None

    def run() -> None:
        nonlocal reason
        try:
            results.append(function())
        except BaseException as error:  # also a library's sys.exit
            reason = reason_of(error)
        ended.set_result(None)
        if (waiter := waiting()) is not None:
            with contextlib.suppress(Exception):  # it was shut down meanwhile
                waiter.wake()

    threading.Thread(target=run, name=name, daemon=True).start()
    await ended
    if not results:
        raise RuntimeError(reason)
    return results.pop()


def run_now(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that awaits only `in_thread`, for callers without an executor."""
    while True:
        try:
            coroutine.send(None)
        except StopIteration as end:
            return end.value
        time.sleep(POLL_S)
