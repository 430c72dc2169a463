"""Trains and exports the models of panoptic_ros."""
