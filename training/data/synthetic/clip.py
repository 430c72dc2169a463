# SPDX-License-Identifier: Apache-2.0
"""Street videos whose frames depend on seed and frame number only."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from panoptic_ros.core.labels import encode_panoptic
from panoptic_ros.core.text import short

from ..sample import HIDDEN_LAYERS
from .camera import PinholeCamera
from .canvas import Canvas, depth_map
from .car import CarShape, make_car
from .ground import Ground
from .labels import CAR
from .layout import make_layout
from .light import TIMES_OF_DAY, at_night, make_light
from .optics import Optics
from .people import Look, make_look
from .randomised import (
    Finish,
    furnish_randomly,
    ground_colors,
    more_cyclists,
    randomise_light,
    randomise_look,
    randomise_optics,
    sensor,
)
from .shadows import SHADOWS_M, paint_shadows
from .sky import Sky, make_skyline, paint_skyline
from .street import Furniture, Standing
from .surfaces import BACKGROUND, SURFACES
from .things import Thing, in_sight

_MIN_AREA = 70 / (256 * 512)
"""Smallest visible share of the image's pixels of a thing that is drawn."""

_MIN_HEIGHT = 12 / 256
"""Smallest height of a thing that is drawn, relative to the image's."""

_SMALL = 0.4
"""Factor of both in the randomised city."""


@dataclass(frozen=True)
class SyntheticFrame:
    """Image of the street with the ground truth of each pixel."""

    image: npt.NDArray[np.uint8]
    """(H, W, 3) RGB."""

    class_map: npt.NDArray[np.uint8]
    """(H, W) class ids of `LABELS`; void occurs in the randomised city only."""

    track_map: npt.NDArray[np.int32]
    """(H, W) track id of the thing, constant in the clip; 0 on stuff."""

    intrinsics: npt.NDArray[np.float64]
    """(3, 3) camera matrix, px; pixel centres have integer coordinates."""

    frame_index: int
    stamp_s: float
    """Time since the clip's first frame, s."""

    surface_map: npt.NDArray[np.uint8] = field(repr=False)
    """(H, W) number of the painted surface, from which `depth` is computed."""

    planes: npt.NDArray[np.float32] = field(repr=False)
    """(256, 5) plane of each surface, see `Canvas.planes`."""

    @cached_property
    def depth(self) -> npt.NDArray[np.float32]:
        """(H, W) depth along the optical axis, m; 1000 m for sky. Computed on first use."""
        return depth_map(self.surface_map, self.planes)

    def panoptic_map(self, label_divisor: int = 1000) -> npt.NDArray[np.int64]:
        """Return panoptic ids (H, W); things are numbered from 1 in this frame, by track id."""
        present = np.bincount(self.track_map.ravel()) > 0
        present[0] = False
        number = np.cumsum(present) * present
        return encode_panoptic(self.class_map, number[self.track_map], label_divisor)


class SyntheticClip:
    """Endless street video; `frame(i)` depends on the seed and `i` only.

    An iteration never ends: use an index, or stop it.
    """

    def __init__(
        self,
        seed: int,
        size: tuple[int, int] = (256, 512),
        fps: float = 20.0,
        randomised: bool = False,
        time_of_day: str = 'any',
    ) -> None:
        """Draw the street.

        Args:
            seed: 0 or more; `split_of` returns its split.
            size: image (height, width), px, at least 32 x 32.
            fps: frames per second of the video.
            randomised: whether domain randomisation is applied, see `randomised.py`.
            time_of_day: one of `TIMES_OF_DAY`; the street is the same at night.

        Raises:
            ValueError: for a value outside its range.
        """
        if seed < 0 or min(size) < 32 or fps <= 0:
            raise ValueError(
                'SyntheticClip expects seed >= 0, size of at least (32, 32) and '
                f'fps > 0, got seed {seed}, size {size}, fps {fps}'
            )
        if time_of_day not in TIMES_OF_DAY:
            raise ValueError(
                f'time_of_day must be one of {", ".join(TIMES_OF_DAY)}, got {short(time_of_day)}'
            )
        self.seed, self.size, self.fps = seed, (int(size[0]), int(size[1])), fps
        rng = np.random.default_rng(seed)
        self.randomised = randomised
        self._light = make_light(rng, dusk=time_of_day == 'any')
        if time_of_day == 'night':
            self._light = at_night(np.random.default_rng((seed, 4)), self._light)
        if randomised:
            self._light = randomise_light(rng, self._light)
        self._smallest = _SMALL if randomised else 1.0
        self._layout = (
            make_layout(rng, furnish_randomly, more_cyclists) if randomised else make_layout(rng)
        )
        self._ground = Ground(
            rng, self._layout, self._light, ground_colors(rng) if randomised else None
        )
        self._furniture = Furniture(self._layout.fixed, len(BACKGROUND))
        self._sky = Sky(rng, self._light)
        self._skyline = make_skyline(rng)
        self._optics = Optics.draw(rng, self._layout.on_pavement, self._layout.camera_speed)
        self._finish = None
        if randomised:
            self._optics = randomise_optics(rng, self._optics)
            self._finish = Finish.draw(rng, self.size)
        self._look = lru_cache(maxsize=256)(self._make_look)
        self._surface_class, self._thing_surface = self._number_surfaces()

    def _number_surfaces(self) -> tuple[npt.NDArray[np.uint8], list[int]]:
        classes = [*BACKGROUND, *(thing.class_id for thing in self._layout.fixed)]
        starts = []
        for mover in self._layout.movers:
            starts.append(len(classes))
            classes += [mover.class_id] * mover.surfaces
        table = np.zeros(SURFACES, np.uint8)
        table[: len(classes)] = classes
        return table, starts

    def _make_look(self, index: int, turns: int) -> CarShape | Look:
        rng = np.random.default_rng((self.seed, index, turns + 1_000_000))
        if self._layout.movers[index].class_id == CAR:
            return make_car(rng, self.randomised)
        look = make_look(rng)
        return randomise_look(rng, look) if self.randomised else look

    @property
    def is_driving(self) -> bool:
        """Whether the camera moves along the street; else it stands."""
        return self._layout.camera_speed > 0

    def camera_at(self, time_s: float) -> tuple[PinholeCamera, float]:
        """Return the camera at a time, and its distance along the street, m."""
        return self._optics.camera(self.size, time_s, self._layout.camera_x)

    def pose_at(self, time_s: float) -> npt.NDArray[np.float64]:
        """Return the transform (4, 4) from the camera's axes to ones that do not move, m.

        Their origin is on the ground where the camera was at a distance of 0 along the street, x
        to the right, y up and z along the street there. A bend is a circle.
        """
        camera, gone = self.camera_at(time_s)
        heading = camera.curvature * gone
        along = math.sin(heading) / camera.curvature if heading else gone
        aside = (1 - math.cos(heading)) / camera.curvature if heading else 0.0
        sin, cos = math.sin(heading), math.cos(heading)
        pose = np.eye(4)
        turn = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
        pose[:3, :3] = turn @ camera.rotation.T
        pose[:3, 3] = turn @ camera.offset + (aside, 0, along)
        return pose

    def __getitem__(self, frame_index: int) -> SyntheticFrame:
        return self.frame(frame_index)

    def __iter__(self) -> Iterator[SyntheticFrame]:
        frame_index = 0
        while True:
            yield self.frame(frame_index)
            frame_index += 1

    def frame(self, frame_index: int) -> SyntheticFrame:
        """Paint a frame.

        Raises:
            ValueError: for a negative index.
        """
        if frame_index < 0:
            raise ValueError(f'frame_index must not be negative, got {frame_index}')
        canvas, shown, _ = self._picture(frame_index)
        surfaces = cv2.extractChannel(canvas.pixels, 3)
        tracks = np.zeros(SURFACES, np.int32)
        for thing in shown:
            tracks[list(thing.surfaces)] = thing.track_id
        if self._finish is not None:
            self._finish.apply(canvas.pixels)
        image = self._optics.develop(canvas.pixels, self.seed, frame_index)
        if self.randomised:
            image = sensor(np.random.default_rng((self.seed, frame_index, 5)), image)
        return SyntheticFrame(
            image=image,
            class_map=cv2.LUT(surfaces, self._surface_class),
            track_map=cv2.LUT(surfaces, tracks),
            intrinsics=canvas.camera.intrinsics,
            frame_index=frame_index,
            stamp_s=frame_index / self.fps,
            surface_map=surfaces,
            planes=canvas.planes,
        )

    def hidden_map(self, frame_index: int) -> npt.NDArray[np.int32]:
        """Return the track ids of the things under the visible one, (HIDDEN_LAYERS, H, W).

        The nearest is first; 0 for none. This takes about as long as the frame.
        """
        canvas, shown, standing = self._picture(frame_index)
        top = np.zeros(self.size, np.int32)  # visible so far
        under = np.zeros((HIDDEN_LAYERS, *self.size), np.int32)
        for item in _far_to_near(canvas, standing, shown):
            canvas.pixels[..., 3] = SURFACES - 1  # a number that no surface has
            item.paint(canvas)
            painted = canvas.pixels[..., 3] != SURFACES - 1
            track = item.track_id if isinstance(item, Thing) else 0
            under[1:, painted] = under[:-1, painted] if track else 0
            under[0, painted] = top[painted] if track else 0
            top[painted] = track
        return under

    def _picture(self, frame_index: int) -> tuple[Canvas, list[Thing], Sequence[Standing]]:
        """Return the painted frame, its things and its furniture."""
        time_s = frame_index / self.fps
        camera, camera_z = self.camera_at(time_s)
        canvas = Canvas(camera, self._light)
        top = self._ground.paint(canvas, camera_z)
        self._sky.paint(canvas, top)
        limit = self._smallest * _MIN_AREA * self.size[0] * self.size[1]
        things = in_sight(camera, self._visible(camera, time_s, camera_z), 1.5 * limit)
        standing = self._furniture.around(camera, camera_z)
        paint_shadows(canvas, top, self._furniture.beside(camera_z, SHADOWS_M), things)
        paint_skyline(canvas, self._skyline)
        background = canvas.pixels.copy()
        self._paint(canvas, standing, things)
        area = cv2.calcHist([canvas.pixels], [3], None, [SURFACES], [0, SURFACES]).ravel()
        shown = [thing for thing in things if area[list(thing.surfaces)].sum() >= limit]
        if len(shown) < len(things):
            canvas.pixels[:] = background
            self._paint(canvas, standing, shown)
        return canvas, shown, standing

    def _visible(self, camera: PinholeCamera, time_s: float, camera_z: float) -> list[Thing]:
        """Return cars, people and cyclists that are near and large enough to be drawn."""
        things = []
        count = len(self._layout.movers)
        for index, mover in enumerate(self._layout.movers):
            x, z, heading, turns, gone = mover.at(time_s, camera_z)
            life = 2 * turns if turns >= 0 else -2 * turns - 1
            thing = Thing(
                mover.class_id,
                1 + life * count + index,
                self._thing_surface[index],
                self._look(index, turns),
                np.array([x, 0.0, z]),
                heading,
                gone,
                mover.speed != 0,
            )
            depth = float(camera.to_camera(thing.place[None])[0, 2])
            if thing.drawable(self._smallest * _MIN_HEIGHT * self.size[0], camera.focal_px, depth):
                things.append(thing)
        return things

    @staticmethod
    def _paint(canvas: Canvas, standing: Sequence[Standing], things: Sequence[Thing]) -> None:
        for item in _far_to_near(canvas, standing, things):
            item.paint(canvas)


def _far_to_near(
    canvas: Canvas, standing: Sequence[Standing], things: Sequence[Thing]
) -> list[Standing | Thing]:
    """Return objects in the order in which they are drawn."""
    x = canvas.camera.position[0]
    order: list[tuple[float, int, Standing | Thing]] = [
        (item.distance, item.surface, item) for item in standing
    ]
    order += [
        (math.hypot(thing.place[0] - x, thing.place[2]), thing.surface, thing) for thing in things
    ]
    return [item for *_, item in sorted(order, key=lambda entry: (-entry[0], entry[1]))]
