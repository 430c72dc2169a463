# SPDX-License-Identifier: Apache-2.0
"""Losses: free functions on plain tensors, one subject per file, one entry per model family."""
