"""What the node and replay share: parameters, loading, and messages without ROS itself."""
