"""The node; nothing outside this folder knows ROS."""
