# SPDX-License-Identifier: Apache-2.0
"""EINet: embedding interaction on Panoptic-DeepLab."""
