# SPDX-License-Identifier: Apache-2.0
"""CIAE: FCOS proposes instances, pixels choose among them by their embedding.

Gao et al., Learning Category- and Instance-Aware Pixel Embedding for Fast Panoptic Segmentation,
2020. Read `config.py`, `network.py`, then `decode.py` (section IV-C); the loss is
`panoptic_training/losses/ciae.py`.
"""
