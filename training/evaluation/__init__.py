# SPDX-License-Identifier: Apache-2.0
"""Scores of a model, or of predictions on disk, over a data set."""
