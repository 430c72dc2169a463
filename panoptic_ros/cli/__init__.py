"""The `panoptic` command line."""
