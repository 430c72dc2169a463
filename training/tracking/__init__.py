# SPDX-License-Identifier: Apache-2.0
"""Studies of the tracker: recorded clips, comparison, search of settings, embedding retrieval."""
