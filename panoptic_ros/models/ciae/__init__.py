# SPDX-License-Identifier: Apache-2.0
"""CIAE: category- and instance-aware pixel embedding (Gao et al. 2020)."""
