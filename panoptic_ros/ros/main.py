# SPDX-License-Identifier: Apache-2.0
"""Starts the node: `ros2 run panoptic_ros panoptic_node`."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import NoReturn

SIGNALS = (signal.SIGTERM, signal.SIGINT)

ENDED = 0
"""Beside the signals' numbers."""

END_S = 0.7
"""The longest that the end of the process waits for the image in work."""

KILL_S = 3.0
"""The longest that a signal waits for an orderly end."""


def main(args: list[str] | None = None) -> NoReturn:
    """Runs the node until Ctrl-C or SIGTERM, and ends the process.

    ROS runs in a thread of its own. So a signal ends the process even while that thread is in
    a call that does not return, such as building an engine.

    Exit codes: 0 after a signal, 2 after one line about what keeps the node from starting, 1
    after an error.

    Args:
        args: command line; ROS reads `--ros-args` from it.
    """
    events, event = os.pipe()
    os.set_blocking(event, False)
    run = _Run(args, event)
    # The first thing of all: the imports take a second. A signal may be given to any thread, and
    # Python would handle it when the main thread wakes, so it is the signal that has to wake it.
    for number in SIGNALS:
        signal.signal(number, lambda *_: None)
    signal.set_wakeup_fd(event, warn_on_full_buffer=False)
    thread = threading.Thread(target=run, name='ros', daemon=True)
    thread.start()
    while (came := os.read(events, 1)[0]) not in (ENDED, *SIGNALS):
        pass
    if came != ENDED:
        run.stop()
    thread.join(KILL_S if run.is_in_ros else 0.0)
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    # Not by returning: Python would tear down an engine's thread in the middle of its work, and
    # the middleware's libraries may hang.
    os._exit(run.exit_code if came == ENDED else 0)


class _Run:
    """The node's life, from the imports to the end."""

    def __init__(self, args: list[str] | None, event: int) -> None:
        """Prepares it.

        Args:
            args: of the command line.
            event: file descriptor that gets `ENDED` at the end.
        """
        self.exit_code = 1
        self.is_in_ros = False
        """Whether there is anything that needs an orderly end."""
        self._args, self._event = args, event
        self._stopping = False
        self._wake: Callable[[], object] | None = None

    def stop(self) -> None:
        """Asks for the end; the main thread calls it."""
        self._stopping = True
        wake = self._wake
        if wake is not None:
            with contextlib.suppress(Exception):  # ROS has ended by itself
                wake()

    def __call__(self) -> None:
        """Runs the node until `stop`."""
        try:
            self.exit_code = self._run()
        except BaseException:
            if not self._stopping:
                import traceback

                traceback.print_exc()
        finally:
            with contextlib.suppress(BlockingIOError):  # full of signals
                os.write(self._event, bytes([ENDED]))

    def _run(self) -> int:
        try:
            import rclpy
            from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
            from rclpy.signals import SignalHandlerOptions
            from rclpy.task import Future
            from rclpy.utilities import try_shutdown
        except ImportError as error:
            print(
                f'panoptic_node: error: {error}; source a ROS 2 installation, or '
                'pip install "panoptic_ros[ros]"',
                file=sys.stderr,
            )
            return 2
        from panoptic_ros.ros.node import PanopticNode
        from panoptic_ros.ros.parameters import warn_of_foreign_files

        self.is_in_ros = True
        if self._stopping:
            return 0
        try:
            rclpy.init(args=self._args, signal_handler_options=SignalHandlerOptions.NO)
            node = PanopticNode()
        except Exception as error:  # of the command line or a parameter file
            print(f'panoptic_node: error: {_one_line(error)}', file=sys.stderr)
            return 2
        warn_of_foreign_files(node, sys.argv if self._args is None else self._args)
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        stop = Future()
        # Set in the executor, which is woken by the task.
        self._wake = partial(executor.create_task, stop.set_result, None)
        if not self._stopping:
            executor.create_task(node.autostart)
            with contextlib.suppress(ExternalShutdownException):
                executor.spin_until_future_complete(stop)
        node.close(END_S)
        executor.shutdown(0)
        node.destroy_node()
        # Others learn of the end only when all of the node is gone; else they wait for 20 s.
        self._wake = None
        del node, executor
        gc.collect()
        try_shutdown()
        return 0


def _one_line(error: Exception) -> str:
    """What is wrong, without the places in ROS's own code."""
    import re

    text = re.sub(r', at \S+:\d+', '', str(error))
    return f'{type(error).__name__}: {" ".join(text.split())}'


if __name__ == '__main__':
    main()
