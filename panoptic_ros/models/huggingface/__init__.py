# SPDX-License-Identifier: Apache-2.0
"""Query-based checkpoints of the transformers library."""
