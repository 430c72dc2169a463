# SPDX-License-Identifier: Apache-2.0
"""Decoding of a class and a mask per query."""
