# SPDX-License-Identifier: Apache-2.0
"""SOGNet: scene overlap graph network (Yang et al. 2020)."""
