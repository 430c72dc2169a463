"""Everything that stands still: sky, ground, skyline, houses, trees and poles."""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from .camera import NEAR_M, Array
from .canvas import Canvas
from .labels import BUILDING, PAVEMENT, ROAD, SKY, VEGETATION
from .layout import Fixed, Layout, Profile
from .light import Light
from .textures import Image, clouds, crowns, facades, leaves, level_of, surface_noise

SKY_SURFACE, ROAD_SURFACE, PAVEMENT_SURFACE, GRASS_SURFACE, TOWN_SURFACE, WOOD_SURFACE = range(6)
BACKGROUND = (SKY, ROAD, PAVEMENT, VEGETATION, BUILDING, VEGETATION)
"""Class of each of the surfaces above."""

SKY_DEPTH_M = 1000.0
"""Depth given to the sky."""

FAR_M = 200.0
"""The ground ends here, at the skyline."""

_GROUND_PX_M = 16
_GROUND_X_M = 20.0
_GROUND_Z_M = 48.0


class Ground:
    """The road and what is beside it as one texture, 40 m wide, that comes again every 48 m."""

    def __init__(self, rng: np.random.Generator, layout: Layout, light: Light) -> None:
        rows, columns = int(_GROUND_Z_M * _GROUND_PX_M), int(2 * _GROUND_X_M * _GROUND_PX_M)
        x = (np.arange(columns) + 0.5) / _GROUND_PX_M - _GROUND_X_M
        profile = layout.profile
        base, self.surface = _zones(rng, x, profile)
        rough = np.roll(surface_noise(), rng.integers(0, 600, 2), (0, 1))
        wet = 1 - 0.35 * light.wet * (self.surface == ROAD_SURFACE)
        color = base * wet[:, None]
        strength = np.where(self.surface == GRASS_SURFACE, 24, 9)
        texture = color[None] + (rough * strength)[..., None]
        self._mark(rng, texture, x, layout)
        up = light.shade(np.array([[0.0, 1.0, 0.0]]))[0]
        lit = np.clip(texture * up, 0, 255).astype(np.uint8)
        self.levels = [lit]
        for fx, fz in ((2, 4), (4, 16)):
            self.levels.append(cv2.resize(lit, (columns // fx, rows // fz),
                                          interpolation=cv2.INTER_AREA))

    def _mark(self, rng: np.random.Generator, texture: npt.NDArray, x: Array, layout: Layout,
              ) -> None:
        """Paints lane lines, kerbs, parking bays and a crossing; flag stones on pavements."""
        profile = layout.profile
        z = np.arange(texture.shape[0]) / _GROUND_PX_M
        white = rng.uniform(185, 235)
        dash = z % 6.0 < rng.choice([2.0, 3.0])

        def line(at: float, rows: npt.NDArray[np.bool_], color: float, wide: float = .14) -> None:
            columns = np.abs(x - at) < wide / 2
            texture[np.ix_(rows, columns)] = color

        always = np.ones(len(z), bool)
        if rng.random() < 0.85:
            line(0.0, always if rng.random() < 0.2 else dash, white)
        for side in (-1, 1):
            for lane in range(1, profile.lanes):
                line(side * lane * profile.lane_m, dash, white)
            edge = side * profile.lanes * profile.lane_m
            if profile.cycle_m or rng.random() < 0.4:
                line(edge, always, white)
            if profile.parking_m:
                line(side * (profile.kerb_x - profile.parking_m), z % 6.0 > 0.5, white, .1)
            kerb = side * (profile.kerb_x + 0.1)
            line(kerb, always, 168, .22)
            line(side * (profile.kerb_x - 0.06), always, 62, .1)
        stones = self.surface == PAVEMENT_SURFACE
        texture[np.ix_((z % 0.75) < 0.07, stones)] *= 0.88
        texture[:, stones & (x % 0.75 < 0.07)] *= 0.9
        for _ in range(5):  # repairs
            row, column = rng.integers(texture.shape[0] - 90), rng.integers(250, 360)
            texture[row:row + rng.integers(20, 90), column:column + rng.integers(8, 30)] *= \
                rng.uniform(0.78, 1.15)
        if layout.zebra_z is not None:
            rows = (z >= layout.zebra_z) & (z < layout.zebra_z + 3.4)
            bars = (x % 1.0 < 0.5) & (np.abs(x) < profile.kerb_x - 0.2)
            texture[np.ix_(rows, bars)] = white

    def paint(self, canvas: Canvas, camera_z: float) -> int:
        """Fills the picture from the horizon down; gives the first row filled."""
        camera, light = canvas.camera, canvas.light
        top = camera.ground_rows(FAR_M)
        x, z = camera.ground_points(top, FAR_M)
        column = (x + np.float32(_GROUND_X_M)) * np.float32(_GROUND_PX_M)
        np.clip(column, 0, len(self.surface) - 1, out=column)
        row = (z + np.float32(camera_z % _GROUND_Z_M)) * np.float32(_GROUND_PX_M)
        below = canvas.pixels[top:]
        middle = np.abs(z[:, z.shape[1] // 2])
        # Far rows read coarser copies, or the markings would flicker.
        near, mid = (int(np.searchsorted(-middle, -limit)) for limit in (9.0, 28.0))
        for level, (start, stop) in enumerate(((near, len(x)), (mid, near), (0, mid))):
            if start >= stop:
                continue
            fx, fz = ((1, 1), (2, 4), (4, 16))[level]
            map_x = column[start:stop] / np.float32(fx) - np.float32(0.5)
            map_y = row[start:stop] / np.float32(fz) - np.float32(0.5)
            color = cv2.remap(self.levels[level], map_x, map_y, cv2.INTER_LINEAR,
                              borderMode=cv2.BORDER_WRAP)
            cv2.mixChannels([color], [below[start:stop]], [0, 0, 1, 1, 2, 2])
        below[..., 3] = np.take(self.surface, column.astype(np.int32))
        self._haze(below, middle, light)
        plane = camera.ground_plane()
        for surface in (ROAD_SURFACE, PAVEMENT_SURFACE, GRASS_SURFACE):
            canvas.set_plane(surface, plane, 0.3, FAR_M)
        return top

    def _haze(self, below: Image, depth: npt.NDArray[np.float32], light: Light) -> None:
        rows = int(np.searchsorted(-depth, -10.0))
        if not rows or light.fade(40.0) < 0.02:
            return
        keep = np.exp(-light.haze_per_m * depth[:rows])[:, None, None].astype(np.float32)
        part = below[:rows, :, :3]
        part[:] = part * keep + light.haze.astype(np.float32) * (1 - keep)


def _zones(rng: np.random.Generator, x: Array, profile: Profile,
           ) -> tuple[Array, npt.NDArray[np.uint8]]:
    """Colour (n, 3) and surface (n,) across the street at each x."""
    asphalt = rng.uniform(78, 128) * np.array([1, 1, rng.uniform(0.98, 1.06)])
    stone = rng.uniform(125, 178) * np.array([1, rng.uniform(.95, 1), rng.uniform(.86, .98)])
    grass = np.array([92, 122, 58]) * rng.uniform(0.75, 1.15)
    cycle = asphalt * rng.choice([[1.35, .75, .7], [.8, 1.15, .85], [1, 1, 1]])
    color, surface = np.tile(asphalt, (len(x), 1)), np.full(len(x), ROAD_SURFACE, np.uint8)
    for side in (-1, 1):
        out = x * side
        lanes = profile.lanes * profile.lane_m
        color[(out > lanes) & (out < lanes + profile.cycle_m)] = cycle
        color[(out > profile.kerb_x - profile.parking_m) & (out < profile.kerb_x)] = asphalt * .88
        start, end = profile.walk(side)
        for low, high, paint, what in (
                (profile.kerb_x, start, grass, GRASS_SURFACE),
                (start, end, stone, PAVEMENT_SURFACE),
                (end, 99.0, grass if profile.garden_m[side > 0] > 0 else stone * 0.9,
                 GRASS_SURFACE if profile.garden_m[side > 0] > 0 else PAVEMENT_SURFACE)):
            zone = (out >= low) & (out < high)
            color[zone], surface[zone] = paint, what
        surface[(out >= profile.kerb_x) & (out < profile.kerb_x + .25)] = PAVEMENT_SURFACE
    return color, surface


class Sky:
    """A cloudy panorama: 90 degrees from side to side, repeated, and 60 degrees high."""

    def __init__(self, rng: np.random.Generator, light: Light) -> None:
        cover = clouds()[rng.integers(len(clouds()))]
        up = np.linspace(1, 0, cover.shape[0])[:, None, None]
        clear = light.sky_low + (light.sky_top - light.sky_low) * up ** 0.7
        share = np.clip((cover - 1 + 2 * light.cloud_amount) * 1.6, 0, 1)[..., None]
        shaded = light.cloud * (0.86 + 0.14 * np.clip(cover, -1, 1)[..., None])
        self.panorama = np.clip(clear + (shaded - clear) * share, 0, 255).astype(np.uint8)
        self.turn = rng.uniform(0, 2 * math.pi)

    def paint(self, canvas: Canvas, rows: int) -> None:
        """Fills the first rows of the picture."""
        camera = canvas.camera
        height, width = self.panorama.shape[:2]
        across = width / (math.pi / 2) / camera.focal_px
        down = height / (math.pi / 3) / camera.focal_px
        cx, cy = camera.centre
        horizon = cy - camera.focal_px * math.tan(camera.pitch)
        matrix = np.array([[across, 0, (camera.yaw + self.turn) * across * camera.focal_px
                            - cx * across], [0, down, height - 1 - horizon * down]])
        columns = np.arange(width + 1)  # wrap by hand: one more column, then whole turns
        matrix[0, 2] %= width
        wide = self.panorama[:, np.concatenate([columns % width, columns[1:] % width])]
        part = cv2.warpAffine(wide, matrix, (camera.size[1], rows),
                              flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                              borderMode=cv2.BORDER_REPLICATE)
        canvas.pixels[:rows, :, :3] = part
        canvas.pixels[:rows, :, 3] = SKY_SURFACE
        canvas.set_depth(SKY_SURFACE, SKY_DEPTH_M)


def make_skyline(rng: np.random.Generator) -> tuple[Array, Array]:
    """Heights by azimuth (360,), m, of far houses and of the woods before them."""
    houses = np.repeat(rng.uniform(9, 30, 72), 5)
    woods = np.interp(np.arange(360), np.arange(0, 361, 3), rng.uniform(9, 17, 121))
    return houses, woods


def paint_skyline(canvas: Canvas, skyline: tuple[Array, Array]) -> None:
    """Closes the end of the street, at the far end of the ground."""
    camera, light = canvas.camera, canvas.light
    u = np.linspace(-0.3, 1.3, 120) * camera.size[1]
    azimuth = camera.yaw + np.arctan((u - camera.centre[0]) / camera.focal_px)
    for heights, surface, color, far in (
            (skyline[0], TOWN_SURFACE, np.array([150.0, 140, 134]), FAR_M),
            (skyline[1], WOOD_SURFACE, np.array([70.0, 92, 54]), FAR_M - 5)):
        top = heights[np.floor(np.degrees(azimuth)).astype(int) % 360] \
            if surface == TOWN_SURFACE else np.interp(np.degrees(azimuth) % 360,
                                                      np.arange(360), heights)
        x, z = far * np.sin(azimuth) + camera.position[0], far * np.cos(azimuth)
        upper = np.stack([x, top, z], axis=1)
        lower = np.stack([x, np.zeros_like(x), z], axis=1)
        outline = camera.to_camera(np.concatenate([upper, lower[::-1]]), bend=False)
        color = color * (light.ambient + 0.3 * light.sun)
        canvas.polygons([camera.to_pixels(outline)], canvas.hazy(color[None], far), [surface])
        canvas.set_depth(surface, far)


def paint_fixed(canvas: Canvas, thing: Fixed, z: float, surface: int) -> None:
    """Draws one thing that stands `z` along the road from the camera."""
    if thing.kind == 'house':
        _front(canvas, thing, z, surface)
    elif thing.kind == 'gable':
        _gable(canvas, thing, z, surface)
    elif thing.kind == 'hedge':
        _wall(canvas, leaves(), np.array(thing.tint), thing.x, z, z + thing.size[0],
              thing.size[1], surface)
    elif thing.kind in ('tree', 'bush'):
        _plant(canvas, thing, z, surface)
    else:
        _pole(canvas, thing, z, surface)


def _wall(canvas: Canvas, pyramid: tuple[Image, ...], tint: Array, x: float, z0: float,
          z1: float, height: float, surface: int) -> None:
    """A textured wall along the road."""
    camera = canvas.camera
    foot = camera.to_camera(np.array([[x, 0, z0], [x, 0, z1]]))
    start, stop = 0.0, 1.0
    depths = foot[:, 2]
    if depths.max() < 2 * NEAR_M:
        return
    if depths.min() < 2 * NEAR_M:  # cut off what is behind the camera
        cut = float((2 * NEAR_M - depths[0]) / (depths[1] - depths[0]))
        start, stop = (cut, 1.0) if depths[0] < depths[1] else (0.0, cut)
    at = np.array([start, stop])[:, None]
    foot = foot[:1] + (foot[1:] - foot[:1]) * at
    up = camera.rotation[:, 1] * height
    corners = camera.to_pixels(np.concatenate([foot + up, foot[::-1]]))
    size = np.abs(corners[1] - corners[3]).max(), np.abs(corners[0] - corners[3])[1]
    texels = pyramid[0].shape[1] * (stop - start), pyramid[0].shape[0]
    ratio = math.sqrt(max(texels[0] / max(size[0], 1), 0.5) * max(texels[1] / max(size[1], 1), .5))
    texture = level_of(pyramid, ratio)
    w = texture.shape[1]
    left, right = math.floor(start * w), max(math.ceil(stop * w), math.floor(start * w) + 1)
    normal = np.array([-math.copysign(1.0, x), 0.0, 0.0])
    light = canvas.light.shade(normal[None])[0]
    canvas.textured(corners, np.ascontiguousarray(texture[:, left:right]), tint * light,
                    float(foot[:, 2].mean()), surface)
    across = foot[1] - foot[0]
    canvas.set_plane(surface, camera.plane(np.cross(across, up), foot[0]),
                     float(depths.min()), float(depths.max()))


def _front(canvas: Canvas, thing: Fixed, z: float, surface: int) -> None:
    _wall(canvas, facades()[thing.style][2], np.array(thing.tint), thing.x, z, z + thing.size[0],
          thing.size[1], surface)


def _gable(canvas: Canvas, thing: Fixed, z: float, surface: int) -> None:
    """The end wall that faces the camera, and the roof."""
    camera, light = canvas.camera, canvas.light
    width, height, depth = thing.size
    side = math.copysign(1.0, thing.x)
    x0, x1 = thing.x, thing.x + side * depth
    rise = (0.0, 2.2, 3.2, 0.0)[thing.style]
    wall = np.array([[x0, 0, z], [x0, height, z], [(x0 + x1) / 2, height + rise, z],
                     [x1, height, z], [x1, 0, z]])
    roof = np.array([[x0 - side * .3, height - .1, z - .2], [(x0 + x1) / 2, height + rise, z],
                     [(x0 + x1) / 2, height + rise, z + width],
                     [x0 - side * .3, height - .1, z + width + .2]])
    tile = np.array([[120.0, 66, 52], [74, 76, 84], [104, 84, 70], [90, 90, 92]])[thing.style]
    normals = np.array([[0.0, 0, -1], [-side * .55, .83, 0]])
    colors = np.stack([200 * np.array(thing.tint), tile]) * light.shade(normals)
    seen = [camera.to_camera(wall), camera.to_camera(roof)]
    shown = [points[:, 2].min() > NEAR_M for points in seen]
    if rise == 0.0:
        shown[1] = False
    distance = max(float(seen[0][:, 2].mean()), NEAR_M)
    canvas.polygons([camera.to_pixels(p) for p, show in zip(seen, shown, strict=True) if show],
                    canvas.hazy(colors[shown], distance), [surface] * sum(shown))
    normal = np.cross(seen[0][1] - seen[0][0], seen[0][4] - seen[0][0])
    depths = np.concatenate([points[:, 2] for points in seen])
    canvas.set_plane(surface, camera.plane(normal, seen[0][0]), float(depths.min()),
                     float(depths.max()))


def _plant(canvas: Canvas, thing: Fixed, z: float, surface: int) -> None:
    camera, light = canvas.camera, canvas.light
    place, _ = camera.bent(np.array([thing.x, 0.0, z]), 0.0)
    foot = camera.to_camera(place[None], bend=False)[0]
    if foot[2] < 1.0:
        return
    wide, high, _ = thing.size
    if thing.kind == 'bush':
        high = wide = min(wide, 2.2)
    tall = wide * 1.05
    base = max(high - tall, 0.0) if thing.kind == 'tree' else -0.15 * tall
    if base > 0:
        trunk = np.array([[place, place + (0, base + 0.35 * tall, 0)]])
        canvas.capsules(trunk, np.array([[0.17, 0.11]]),
                        np.array([[92.0, 76, 62]]) * light.ambient, surface)
    up = camera.rotation[:, 1]
    middle = foot + up * (base + tall / 2)
    right = np.array([wide / 2, 0, 0])
    lift = up * tall / 2
    corners = camera.to_pixels(np.stack([middle - right + lift, middle + right + lift,
                                         middle + right - lift, middle - right - lift]))
    pyramid = crowns()[thing.style]
    texture = level_of(pyramid, 128 / max(np.ptp(corners[:, 0]), 1))
    tint = np.array(thing.tint) * (light.ambient + 0.6 * light.sun)
    canvas.textured(corners, texture, tint, float(foot[2]), surface, cut_out=True)
    canvas.set_depth(surface, float(foot[2]))


def _pole(canvas: Canvas, thing: Fixed, z: float, surface: int) -> None:
    camera, light = canvas.camera, canvas.light
    place, _ = camera.bent(np.array([thing.x, 0.0, z]), 0.0)
    depth = float(camera.to_camera(place[None], bend=False)[0, 2])
    # Thinner than three pixels of 512 nobody could outline it.
    if depth < 1.0 or 0.24 * camera.focal_px / depth < 3 * camera.size[1] / 512:
        return
    high = thing.size[1]
    level = light.ambient + 0.5 * light.sun
    top = place + (0, high, 0)
    side = -math.copysign(1.0, thing.x)
    grey = np.array([[96.0, 98, 100]])
    if thing.kind == 'lamp':
        sticks = [[place, top]]
        radii = [[0.13, 0.09]]
        if thing.style:
            sticks += [[top, top + (side * 1.5, 0.15, 0)],
                       [top + (side * 1.1, 0.12, 0), top + (side * 1.9, 0.15, 0)]]
            radii += [[0.07, 0.06], [0.13, 0.12]]
        else:
            sticks += [[top, top + (0, 0.35, 0)]]
            radii += [[0.22, 0.28]]
        colors = np.repeat(grey * 0.8, len(sticks), axis=0) * level
        if light.lamps:
            colors[-1] = (255, 236, 190)
        canvas.capsules(np.array(sticks), np.array(radii), colors, surface)
    else:
        canvas.capsules(np.array([[place, top]]), np.array([[0.09, 0.09]]), grey * level, surface)
        _board(canvas, thing.style, top, level, surface)
    canvas.set_depth(surface, depth)


def _board(canvas: Canvas, style: int, top: Array, level: Array, surface: int) -> None:
    """A traffic sign: two nested shapes facing along the road."""
    corners = (3, 16, 4, 16, 4)[style]
    outer = ((200, 30, 30), (200, 30, 30), (30, 70, 170), (24, 80, 180), (214, 190, 40))[style]
    inner = ((238, 238, 238), (238, 238, 238), (60, 100, 196), (220, 226, 240),
             (238, 216, 70))[style]
    start = math.pi / 2 if corners != 4 else math.pi / 4
    angle = start + np.linspace(0, 2 * math.pi, corners, endpoint=False)
    camera = canvas.camera
    polygons = []
    for radius in (0.42, 0.3):
        points = np.stack([radius * np.cos(angle), radius * np.sin(angle),
                           np.full(corners, -0.1)], axis=1) + top - (0, 0.3, 0)
        polygons.append(camera.to_pixels(camera.to_camera(points, bend=False)))
    depth = float(camera.to_camera(top[None], bend=False)[0, 2])
    colors = np.array([outer, inner], float) * level
    canvas.polygons(polygons, canvas.hazy(colors, depth), [surface] * 2)
