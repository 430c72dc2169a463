# SPDX-License-Identifier: Apache-2.0
"""The half of the node without ROS, which replay shares."""
