# SPDX-License-Identifier: Apache-2.0
"""Recorded model outputs on clips of the synthetic city, on which trackers run in seconds."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from zipfile import BadZipFile

import cv2
import numpy as np
import numpy.typing as npt

from panoptic_ros.core.files import atomic_write
from panoptic_ros.core.frame import Geometry, PanopticFrame
from panoptic_ros.core.image import CameraImage
from panoptic_ros.core.model_file import file_hash
from panoptic_ros.runtime import Predictor
from panoptic_ros.spatial.camera_model import Calibration, CameraModel
from panoptic_ros.spatial.positions import measure, sample_segments
from panoptic_ros.tracking import View

from ..data.synthetic import SPLITS, SyntheticClip, SyntheticFrame


@dataclass(frozen=True)
class RecordedClip:
    """Untracked frames and ground truth of a clip; T frames, the first at stamp 0."""

    frames: Sequence[PanopticFrame]

    class_maps: npt.NDArray[np.uint8]
    """(T, H, W) ground truth class ids."""

    track_maps: npt.NDArray[np.int32]
    """(T, H, W) ground truth track ids, 0 on stuff."""

    images: npt.NDArray[np.uint8]
    """(T, H, W) grey images, from which the tracker measures the camera's motion."""

    views: Sequence[View]
    """Pose of the camera at each frame, whose segments have positions from exact depth."""


def clip_file(folder: Path, model: Path, seed: int, count: int) -> Path:
    """Return the file of a seed's clip; each model and length has its own.

    Files without images or positions, of earlier versions, have other names.
    """
    return folder / f'{model.stem}-{file_hash(model)[:8]}' / f'seed{seed}-{count}-metres.npz'


def seeds_of(split: str, clips: int) -> range:
    """Return the first seeds of the split `val` or `test`.

    Raises:
        ValueError: if the number of clips is not positive, or the split has fewer.
    """
    seeds = SPLITS[split][:clips]
    if not 1 <= clips <= len(SPLITS[split]):
        raise ValueError(f'--clips must be 1 to {len(SPLITS[split])}, got {clips}')
    return seeds


def record(
    predictor: Predictor, seed: int, count: int, path: Path, size: tuple[int, int] = (256, 512)
) -> Iterator[int]:
    """Draw a clip, run the model on each frame, and write frames and ground truth atomically.

    Args:
        predictor: predictor of a model with the city's classes.
        seed: seed of the street.
        count: number of frames.
        path: file to write.
        size: image size (height, width), px.

    Yields:
        The number of finished frames, after each frame.
    """
    clip = SyntheticClip(seed, size)
    maps, rows, counts, classes, tracks, images, poses = [], [], [], [], [], [], []
    for i in range(count):
        gt = clip.frame(i)
        frame = located(predictor.predict(CameraImage(gt.image, 'rgb'), gt.stamp_s), gt)
        maps.append(frame.segment_map)
        rows.append(frame.segments)
        counts.append(len(frame.segments))
        classes.append(gt.class_map)
        tracks.append(gt.track_map)
        images.append(cv2.cvtColor(gt.image, cv2.COLOR_RGB2GRAY))
        poses.append(clip.pose_at(gt.stamp_s))
        yield i + 1
    geometry = frame.geometry
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        np.savez_compressed(
            temporary,
            segment_maps=np.stack(maps),
            segments=np.concatenate(rows),
            counts=counts,
            class_maps=np.stack(classes),
            track_maps=np.stack(tracks),
            images=np.stack(images),
            poses=np.stack(poses),
            intrinsics=gt.intrinsics,
            stamps=np.arange(count) / clip.fps,
            geometry=[*geometry.image_size, *geometry.input_size, geometry.stride],
        )


def camera_of(intrinsics: npt.NDArray[np.float64], size: tuple[int, int]) -> CameraModel:
    """Return a camera without distortion, of a matrix (3, 3) and images (height, width)."""
    matrix = tuple(intrinsics.ravel().tolist())
    return CameraModel(Calibration(size, 'plumb_bob', (), matrix, (1, 1), (0, 0, *size), False))


def located(frame: PanopticFrame, gt: SyntheticFrame) -> PanopticFrame:
    """Return a frame with the positions of its segments, from the exact depth of its image."""
    samples = sample_segments(frame)
    at_y, at_x = samples.index
    depth = gt.depth[at_y, at_x]
    rays = camera_of(gt.intrinsics, frame.geometry.image_size).rays
    points = np.stack([*(rays[:, at_y, at_x] * depth), depth])
    rows = frame.segments.copy()
    rows['x'], rows['y'], rows['z'] = measure(samples.ids, points, frame).median.T
    return replace(frame, segments=rows)


def load_clip(path: Path) -> RecordedClip:
    """Read a file that `record` wrote.

    Raises:
        ValueError: if the file is damaged or of another kind.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            values = {name: file[name] for name in file.files}
        height, width, *input_size, stride = values['geometry'].tolist()
        geometry = Geometry((height, width), (input_size[0], input_size[1]), stride)
        rows = np.split(values['segments'], np.cumsum(values['counts'])[:-1])
        frames = [
            PanopticFrame(segment_map, segments, geometry, stamp_s)
            for segment_map, segments, stamp_s in zip(
                values['segment_maps'], rows, values['stamps'].tolist(), strict=True
            )
        ]
        camera = camera_of(values['intrinsics'], geometry.image_size)
        project = partial(camera.project, beyond=True)
        return RecordedClip(
            frames,
            views=[View(pose, project) for pose in values['poses']],
            **{k: values[k] for k in ('class_maps', 'track_maps', 'images')},
        )
    except (KeyError, ValueError, OSError, EOFError, BadZipFile) as error:
        raise ValueError(
            f'{path} is not a recorded clip; delete it, and it is made again: {error}'
        ) from None
