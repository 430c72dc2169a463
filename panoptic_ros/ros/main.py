# SPDX-License-Identifier: Apache-2.0
"""Executable of the node: `ros2 run panoptic_ros panoptic_node`."""

import contextlib
import gc
import os
import re
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import NoReturn

from panoptic_ros.core.text import MAX_REASON, one_line

SIGNALS = (signal.SIGTERM, signal.SIGINT)

ENDED = 0
"""Event that reports the end of the ROS thread; the other events are signal numbers."""

END_S = 0.7
"""Longest time that the end of the process waits for the current image, seconds."""

KILL_S = 3.0
"""Longest time that a signal waits for an orderly end, seconds."""


def main(args: list[str] | None = None) -> NoReturn:
    """Run the node until Ctrl-C or SIGTERM, and end the process.

    ROS runs in a thread of its own, so that a signal ends the process even while that thread is
    in a call that does not return, such as building an engine.

    Exit codes: 0 after a signal, 1 after an error, 2 if the node cannot start; then one line
    gives the reason.

    Args:
        args: command line; ROS reads `--ros-args` from it.
    """
    events, event = os.pipe()
    os.set_blocking(event, False)
    run = _Run(args, event)
    # Before the imports, which take a second. The kernel may deliver a signal to any thread, and
    # Python handles it when the main thread runs, so the signal must wake the main thread.
    for number in SIGNALS:
        signal.signal(number, lambda *_: None)
    signal.set_wakeup_fd(event, warn_on_full_buffer=False)
    thread = threading.Thread(target=run, name='ros', daemon=True)
    thread.start()
    while (received := os.read(events, 1)[0]) not in (ENDED, *SIGNALS):
        pass
    if received != ENDED:
        run.stop()
    thread.join(KILL_S if run.is_in_ros else 0.0)
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    # os._exit, since on a normal exit Python would destroy an engine's thread during its work,
    # and the middleware's libraries may hang.
    os._exit(run.exit_code if received == ENDED else 0)


class _Run:
    """Run of the node from the imports to the shutdown of ROS."""

    def __init__(self, args: list[str] | None, event: int) -> None:
        """Prepare the run.

        Args:
            args: command line.
            event: file descriptor to which `ENDED` is written at the end.
        """
        self.exit_code = 1
        self.is_in_ros = False
        """Whether ROS is initialised and needs an orderly end."""
        self._args, self._event = args, event
        self._stopping = False
        self._wake: Callable[[], object] | None = None

    def stop(self) -> None:
        """Request the end; called by the main thread."""
        self._stopping = True
        wake = self._wake
        if wake is not None:
            with contextlib.suppress(Exception):  # ROS has already ended
                wake()

    def __call__(self) -> None:
        """Run the node until `stop` is called."""
        try:
            self.exit_code = self._run()
        except BaseException:
            if not self._stopping:
                import traceback

                traceback.print_exc()
        finally:
            with contextlib.suppress(BlockingIOError):  # the pipe is full of signals
                os.write(self._event, bytes([ENDED]))

    def _run(self) -> int:
        try:
            import rclpy
            from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
            from rclpy.signals import SignalHandlerOptions
            from rclpy.utilities import ok, try_shutdown
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
        except Exception as error:  # in the command line or a parameter file
            text = re.sub(r', at \S+:\d+', '', str(error))  # positions in ROS's own code
            reason = one_line(f'{type(error).__name__}: {text}', MAX_REASON)
            print(f'panoptic_node: error: {reason}', file=sys.stderr)
            return 2
        warn_of_foreign_files(node, sys.argv if self._args is None else self._args)
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        # A task, since that wakes the executor.
        self._wake = partial(executor.create_task, lambda: None)
        if not self._stopping:
            executor.create_task(node.autostart)
        # Not spin_until_future_complete(), which keeps a function for each callback that it runs.
        with contextlib.suppress(ExternalShutdownException):
            while not self._stopping and ok():
                executor.spin_once()
        node.close(END_S)
        executor.shutdown(0)
        node.destroy_node()
        # Other processes notice the end only when all objects of the node are deleted; otherwise
        # they wait for 20 s.
        self._wake = None
        del node, executor
        gc.collect()
        try_shutdown()
        return 0


if __name__ == '__main__':
    main()
