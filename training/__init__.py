# SPDX-License-Identifier: Apache-2.0
"""Trains and exports the models of panoptic_ros."""
