# SPDX-License-Identifier: Apache-2.0
"""Scores of predictions against ground truth: one file per metric, one row in the registry."""
