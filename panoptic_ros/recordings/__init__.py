"""Recorded messages: bags of ROS 1 and ROS 2, read within limits and as far as they are whole."""
