# SPDX-License-Identifier: Apache-2.0
"""Panoptic FPN (Kirillov et al. 2019)."""
