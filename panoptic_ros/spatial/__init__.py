# SPDX-License-Identifier: Apache-2.0
"""Metres: camera models, depth images, positions of segments and point clouds, without ROS."""
