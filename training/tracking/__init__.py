# SPDX-License-Identifier: Apache-2.0
"""The tracker's studies: recorded clips, comparison, search of settings, lasting embeddings."""
