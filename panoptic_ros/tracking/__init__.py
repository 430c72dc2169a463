# SPDX-License-Identifier: Apache-2.0
"""Tracking of the things of one camera: the same id from image to image."""

from panoptic_ros.tracking.clock import StampClock
from panoptic_ros.tracking.config import TrackerConfig
from panoptic_ros.tracking.tracker import Tracker
from panoptic_ros.tracking.tracks import TrackerStats

__all__ = ['StampClock', 'Tracker', 'TrackerConfig', 'TrackerStats']
