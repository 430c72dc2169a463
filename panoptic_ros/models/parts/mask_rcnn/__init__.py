# SPDX-License-Identifier: Apache-2.0
"""Mask R-CNN with a semantic branch: the base of Panoptic FPN and SOGNet.

Read `config.py`, `network.py`, `proposals.py` (first stage), `roi_heads.py` (second stage), then
`masks.py`.
"""
