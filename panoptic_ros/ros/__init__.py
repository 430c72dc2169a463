# SPDX-License-Identifier: Apache-2.0
"""The node; nothing outside this folder knows ROS."""
