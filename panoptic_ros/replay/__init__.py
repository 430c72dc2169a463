# SPDX-License-Identifier: Apache-2.0
"""A recorded bag through the node's own pipeline, without ROS: results, scores, report."""
