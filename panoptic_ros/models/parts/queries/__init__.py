# SPDX-License-Identifier: Apache-2.0
"""Queries with a class and a mask each: configuration and decoding."""
