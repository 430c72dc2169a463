# SPDX-License-Identifier: Apache-2.0
"""Figures of the papers, drawn from a trained model: `registry.py` lists those of each family."""
