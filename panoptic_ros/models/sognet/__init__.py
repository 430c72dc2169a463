# SPDX-License-Identifier: Apache-2.0
"""SOGNet: predicts which instance covers which, and resolves overlaps by these relations.

Yang et al., SOGNet: Scene Overlap Graph Network for Panoptic Segmentation, AAAI 2020. Read
`models/parts/mask_rcnn/` first, then `config.py`, `network.py`, `semantic_head.py`, `relation.py`
(equations 1 to 11) and `decode.py`; the loss is `panoptic_training/losses/sognet.py`.
"""
