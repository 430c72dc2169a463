# SPDX-License-Identifier: Apache-2.0
"""Predictions of image files and videos: overlays, PNGs of ids and COCO panoptic JSON."""
