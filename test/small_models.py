# SPDX-License-Identifier: Apache-2.0
"""Configurations that are quick to build and run, for the tests."""

SMALL_CIAE = {
    'backbone': 'mobilenetv2_035',
    'channels': 16,
    'tower_depth': 1,
    'branch_channels': 16,
    'embedding_dim': 8,
}

_ROIS = {
    'backbone': 'mobilenetv2_035',
    'fpn_channels': 16,
    'box_width': 24,
    'embedding_dim': 8,
    'mask_widths': (16,),
    'mask_size': 14,
    'proposals_per_level': 20,
    'proposals': 40,
    'top_k': 12,
    'stride': 4,
}

SMALL_FPN = {**_ROIS, 'semantic_channels': 16}
SMALL_SOGNET = {**_ROIS, 'semantic_widths': (8,), 'box_dim': 8, 'category_dim': 8, 'mask_dim': 8}
