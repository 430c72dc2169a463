# SPDX-License-Identifier: Apache-2.0
"""Panoptic-DeepLab (Cheng et al. 2020), the base of EINet and PISR."""
