# SPDX-License-Identifier: Apache-2.0
"""What the node and replay share: parameters, loading, and messages without ROS itself."""
