# SPDX-License-Identifier: Apache-2.0
"""Replay of a recording through the node's pipeline, without ROS: results bag, scores, report."""
