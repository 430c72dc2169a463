"""Starts the node: `ros2 run panoptic_ros panoptic_node`."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
from typing import Any

END_S = 0.7
"""The longest that the end of the process waits for the image in work."""


def main(args: list[str] | None = None) -> int:
    """Runs the node until Ctrl-C or SIGTERM.

    Args:
        args: command line; ROS reads `--ros-args` from it.

    Returns:
        Exit code: 0 after an orderly end, 2 after one line about what keeps it from starting.
    """
    # rclpy's handler calls this one too, so that SIGTERM also ends the loading of a model.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    node: Any = None
    try:
        try:
            import rclpy
            from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
        except ImportError as error:
            print(f'panoptic_node: error: {error}; source a ROS 2 installation, or '
                  'pip install "panoptic_ros[ros]"', file=sys.stderr)
            return 2
        from panoptic_ros.ros.declare import warn_of_foreign_files
        from panoptic_ros.ros.node import PanopticNode

        try:
            rclpy.init(args=args)
            node = PanopticNode()
        except ExternalShutdownException:
            raise
        except Exception as error:  # of the command line or a parameter file
            print(f'panoptic_node: error: {_one_line(error)}', file=sys.stderr)
            return 2
        warn_of_foreign_files(node, sys.argv if args is None else args)
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        node.autostart()
        with contextlib.suppress(ExternalShutdownException):
            executor.spin()
    except KeyboardInterrupt:
        pass
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        if node is not None:
            _end(node)
    return 0


def _one_line(error: Exception) -> str:
    """What is wrong, without the places in ROS's own code."""
    text = re.sub(r', at \S+:\d+', '', str(error))
    return f'{type(error).__name__}: {" ".join(text.split())}'


def _end(node: Any) -> None:
    """Gives everything up that the node holds."""
    from rclpy.utilities import try_shutdown

    if not node.close(END_S):
        os._exit(0)  # the engine's thread would be torn down in the middle of its work
    node.destroy_node()
    try_shutdown()


if __name__ == '__main__':
    sys.exit(main())
