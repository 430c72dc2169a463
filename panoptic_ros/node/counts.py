# SPDX-License-Identifier: Apache-2.0
"""Counts of images and the reasons why some drop out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Drop(Enum):
    """Why a frame was received but not published."""

    SUPERSEDED = 'superseded'
    TOO_OLD = 'too old'
    BAD_IMAGE = 'bad image'
    INFERENCE_FAILED = 'inference failed'


@dataclass(frozen=True)
class Counts:
    """What became of the frames so far; `received` is the sum of all the others, always."""

    received: int
    published: int
    dropped: dict[Drop, int]
    in_flight: int
    """Waiting or being worked on: 0 to 2."""
