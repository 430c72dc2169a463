# SPDX-License-Identifier: Apache-2.0
"""Parts of networks and decoding that several families share."""
