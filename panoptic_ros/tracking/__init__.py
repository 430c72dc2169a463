# SPDX-License-Identifier: Apache-2.0
"""Tracking of the things of one camera: the same id from image to image; and a vote for stuff."""

from panoptic_ros.tracking.clock import StampClock
from panoptic_ros.tracking.config import TrackerConfig
from panoptic_ros.tracking.place import View
from panoptic_ros.tracking.stuff_vote import StuffVote
from panoptic_ros.tracking.tracker import Tracker
from panoptic_ros.tracking.tracks import TrackerStats

__all__ = ['StampClock', 'StuffVote', 'Tracker', 'TrackerConfig', 'TrackerStats', 'View']
