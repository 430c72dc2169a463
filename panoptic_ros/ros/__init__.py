# SPDX-License-Identifier: Apache-2.0
"""The half of the node with rclpy, and the processes around it."""
