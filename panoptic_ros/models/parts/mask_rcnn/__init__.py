# SPDX-License-Identifier: Apache-2.0
"""Mask R-CNN with a semantic branch: the base of Panoptic FPN and SOGNet."""
