# SPDX-License-Identifier: Apache-2.0
"""Data the models learn from: readers of data sets and the synthetic city."""
