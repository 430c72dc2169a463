# SPDX-License-Identifier: Apache-2.0
"""Lasting ids for the things of one camera."""

from panoptic_ros.tracking.clock import StampClock
from panoptic_ros.tracking.config import TrackerConfig
from panoptic_ros.tracking.tracker import Tracker
from panoptic_ros.tracking.tracks import TrackerStats

__all__ = ['StampClock', 'Tracker', 'TrackerConfig', 'TrackerStats']
