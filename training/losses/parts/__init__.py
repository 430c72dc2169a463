# SPDX-License-Identifier: Apache-2.0
"""Parts of losses that several families share."""
