# SPDX-License-Identifier: Apache-2.0
"""Losses of the model families: one file per family, of free functions on tensors."""
