# SPDX-License-Identifier: Apache-2.0
"""HLE: hierarchical Lovász embeddings (Kerola et al. 2021)."""
