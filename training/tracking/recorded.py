# SPDX-License-Identifier: Apache-2.0
"""Recorded model outputs on clips of the synthetic city, on which trackers run in seconds."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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

from ..data.synthetic import SPLITS, SyntheticClip


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


def clip_file(folder: Path, model: Path, seed: int, count: int) -> Path:
    """Return the file of a seed's clip; each model and length has its own.

    Files without images, of earlier versions, have other names.
    """
    return folder / f'{model.stem}-{file_hash(model)[:8]}' / f'seed{seed}-{count}-images.npz'


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
    maps, rows, counts, classes, tracks, images = [], [], [], [], [], []
    for i in range(count):
        gt = clip.frame(i)
        frame = predictor.predict(CameraImage(gt.image, 'rgb'), gt.stamp_s)
        maps.append(frame.segment_map)
        rows.append(frame.segments)
        counts.append(len(frame.segments))
        classes.append(gt.class_map)
        tracks.append(gt.track_map)
        images.append(cv2.cvtColor(gt.image, cv2.COLOR_RGB2GRAY))
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
            stamps=np.arange(count) / clip.fps,
            geometry=[*geometry.image_size, *geometry.input_size, geometry.stride],
        )


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
        return RecordedClip(frames, *(values[k] for k in ('class_maps', 'track_maps', 'images')))
    except (KeyError, ValueError, OSError, EOFError, BadZipFile) as error:
        raise ValueError(
            f'{path} is not a recorded clip; delete it, and it is made again: {error}'
        ) from None
