# SPDX-License-Identifier: Apache-2.0
"""Contact sheet: one image that shows a few frames of a run."""

import math

import cv2
import numpy as np

from panoptic_ros.recordings.overlay_video import Rgb

TILE_WIDTH = 640
"""Pixels."""

COLUMNS = 3
TILES = 12
"""Frames on a sheet."""


class ContactSheet:
    """A few frames, evenly spread over a run whose length is not known in advance."""

    def __init__(self) -> None:
        self._tiles: list[Rgb] = []
        self._step = 1
        self._count = 0

    def add(self, picture: Rgb) -> None:
        """Keep every n-th frame; n doubles when twice as many as needed have been kept.

        Args:
            picture: (H, W, 3) RGB.
        """
        if self._count % self._step == 0:
            height = max(1, round(picture.shape[0] * TILE_WIDTH / picture.shape[1]))
            self._tiles.append(
                cv2.resize(picture, (TILE_WIDTH, height), interpolation=cv2.INTER_AREA).astype(
                    np.uint8
                )
            )
            if len(self._tiles) == 2 * TILES:
                self._tiles = self._tiles[::2]
                self._step *= 2
        self._count += 1

    def draw(self) -> Rgb:
        """Draw the sheet; frames are ordered like words of a text.

        Returns:
            (H, W, 3) RGB.

        Raises:
            ValueError: if no frame was added.
        """
        if not self._tiles:
            raise ValueError('a contact sheet needs at least one picture')
        chosen = np.linspace(0, len(self._tiles) - 1, min(TILES, len(self._tiles))).round()
        tiles = [self._tiles[int(index)] for index in chosen]
        height = max(tile.shape[0] for tile in tiles)
        columns = min(COLUMNS, len(tiles))
        rows = math.ceil(len(tiles) / columns)
        sheet = np.zeros((rows * height, columns * TILE_WIDTH, 3), np.uint8)
        for place, tile in enumerate(tiles):
            y, x = place // columns * height, place % columns * TILE_WIDTH
            sheet[y : y + tile.shape[0], x : x + TILE_WIDTH] = tile
        return sheet
