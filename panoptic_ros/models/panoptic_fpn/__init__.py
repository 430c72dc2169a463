# SPDX-License-Identifier: Apache-2.0
"""Panoptic FPN: Mask R-CNN and a semantic branch on one pyramid, merged by score.

Kirillov et al., Panoptic Feature Pyramid Networks, CVPR 2019. Read `models/parts/mask_rcnn/`
first, then `config.py`, `network.py` and `decode.py`; the loss is
`panoptic_training/losses/panoptic_fpn.py`.
"""
