# SPDX-License-Identifier: Apache-2.0
"""Configurations of the registry's small networks, with some values back at their defaults."""

from panoptic_ros.models.registry import FAMILIES


def small(family, *defaults):
    """Return the small configuration of a family without the keys in `defaults`."""
    return {key: value for key, value in FAMILIES[family].small.items() if key not in defaults}


SMALL_CENTERS = small('panoptic_deeplab', 'top_k', 'stride', 'center_threshold')
SMALL_CIAE = small(
    'ciae',
    'stride',
    'pre_nms_top_k',
    'score_threshold',
    'class_threshold',
    'nms_threshold',
    'min_stuff_area',
)
SMALL_FPN = small('panoptic_fpn', 'score_threshold', 'min_stuff_area')
SMALL_SOGNET = small('sognet', 'score_threshold', 'min_stuff_area')
