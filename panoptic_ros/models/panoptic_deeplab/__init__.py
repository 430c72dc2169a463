# SPDX-License-Identifier: Apache-2.0
"""Panoptic-DeepLab: classes per pixel, instances by their centres and the offsets to them.

Cheng et al., Panoptic-DeepLab: A Simple, Strong, and Fast Baseline for Bottom-Up Panoptic
Segmentation, CVPR 2020. Read `config.py`, `network.py`, `dual_decoder.py`, then `decode.py`; the
loss is `panoptic_training/losses/panoptic_deeplab.py`. EINet and PISR extend this family.
"""
