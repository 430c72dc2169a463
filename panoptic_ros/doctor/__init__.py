# SPDX-License-Identifier: Apache-2.0
"""Examination of a machine and its installation for `panoptic doctor`.

The modules import nothing but the standard library: what may be missing, broken or slow is tried
in processes of its own, see `probes`.
"""
