# SPDX-License-Identifier: Apache-2.0
"""Numbers of the surfaces of every street, and their limits."""

from .labels import BUILDING, PAVEMENT, ROAD, SKY, VEGETATION

SKY_SURFACE, ROAD_SURFACE, PAVEMENT_SURFACE, GRASS_SURFACE, TOWN_SURFACE, WOOD_SURFACE = range(6)

BACKGROUND = (SKY, ROAD, PAVEMENT, VEGETATION, BUILDING, VEGETATION)
"""Class of each of the surfaces above."""

SURFACES = 256
"""Largest number of surfaces of a street: a pixel's number is one byte."""

SKY_DEPTH_M = 1000.0
"""Depth of the sky."""

FAR_M = 160.0
"""Depth of the skyline, where the ground ends; houses are nearer."""
