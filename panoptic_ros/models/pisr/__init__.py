# SPDX-License-Identifier: Apache-2.0
"""PISR: panoptic, instance and semantic relations, on four bases."""
