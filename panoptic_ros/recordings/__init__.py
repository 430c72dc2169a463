# SPDX-License-Identifier: Apache-2.0
"""Recordings: bags, videos, image folders and cameras as sources; bags and videos as results."""
