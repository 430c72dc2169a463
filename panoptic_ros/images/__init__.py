# SPDX-License-Identifier: Apache-2.0
"""Camera images from ROS messages and encoded files."""
