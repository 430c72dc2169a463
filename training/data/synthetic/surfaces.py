# SPDX-License-Identifier: Apache-2.0
"""Numbers of the surfaces every street has, and how far they reach."""

from .labels import BUILDING, PAVEMENT, ROAD, SKY, VEGETATION

SKY_SURFACE, ROAD_SURFACE, PAVEMENT_SURFACE, GRASS_SURFACE, TOWN_SURFACE, WOOD_SURFACE = range(6)

BACKGROUND = (SKY, ROAD, PAVEMENT, VEGETATION, BUILDING, VEGETATION)
"""Class of each of the surfaces above."""

SURFACES = 256
"""Most surfaces of a street: a pixel's number is kept in one byte."""

SKY_DEPTH_M = 1000.0
"""Depth given to the sky."""

FAR_M = 160.0
"""The ground ends here, at the skyline; no house reaches farther."""
