# SPDX-License-Identifier: Apache-2.0
"""EINet: Panoptic-DeepLab whose semantic and instance embeddings enhance each other.

Embedding-Interaction based Panoptic Segmentation. Read `models/panoptic_deeplab/` first, then
`config.py` and `network.py`; it decodes as Panoptic-DeepLab does. The loss is
`panoptic_training/losses/einet.py`.
"""
