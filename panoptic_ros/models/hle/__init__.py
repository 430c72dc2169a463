# SPDX-License-Identifier: Apache-2.0
"""HLE: one embedding per pixel for classes and instances alike.

Kerola et al., Hierarchical Lovász Embeddings for Proposal-free Panoptic Segmentation, CVPR 2021.
Read `config.py`, `network.py`, `decode.py` (section 3.5), then `thomson.py` (initial class means,
section 3.4); the loss is `panoptic_training/losses/hle.py`.
"""
