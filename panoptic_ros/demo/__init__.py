# SPDX-License-Identifier: Apache-2.0
"""The parts of `panoptic demo` that need no ROS: where images come from, what is left behind."""
