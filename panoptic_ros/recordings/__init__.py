# SPDX-License-Identifier: Apache-2.0
"""Recorded messages: bags of ROS 1 and ROS 2, read within limits and as far as they are whole."""
