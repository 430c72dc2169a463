# SPDX-License-Identifier: Apache-2.0
"""Forwarding of the package's log records from the standard library to ROS."""

import logging
from typing import Any

CORE = 'panoptic_ros'


class RosHandler(logging.Handler):
    """Log handler that writes to a ROS logger."""

    def __init__(self, ros_logger: Any) -> None:
        super().__init__()
        # One line per level, since rclpy stores one severity for each calling line.
        self._write = {
            logging.DEBUG: lambda text: ros_logger.debug(text),
            logging.INFO: lambda text: ros_logger.info(text),
            logging.WARNING: lambda text: ros_logger.warning(text),
            logging.ERROR: lambda text: ros_logger.error(text),
            logging.CRITICAL: lambda text: ros_logger.fatal(text),
        }

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler.emit."""
        try:
            level = max(logging.DEBUG, min(record.levelno // 10 * 10, logging.CRITICAL))
            self._write[level](self.format(record))
        except Exception:
            self.handleError(record)


def forward_logging(ros_logger: Any) -> logging.Handler:
    """Send the package's log records to ROS only, which filters them by level."""
    handler = RosHandler(ros_logger)
    logger = logging.getLogger(CORE)
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    return handler


def remove_handler(handler: logging.Handler) -> None:
    """Undo `forward_logging`."""
    logging.getLogger(CORE).removeHandler(handler)
