# SPDX-License-Identifier: Apache-2.0
"""Data set of the frames of recordings, with predictions as labels."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from panoptic_ros.core.files import lock_folder, replace_results, run_folder
from panoptic_ros.core.image import copy_rgb
from panoptic_ros.mining.blur import blurred
from panoptic_ros.mining.frames import RecordedFrame, Recordings
from panoptic_ros.mining.prelabels import PrelabelWriter, earlier_sources, names_of_split
from panoptic_ros.runtime.predictor import Predictor
from panoptic_ros.tracking.tracker import Tracker


def check_split(folder: Path, split: str) -> None:
    """Refuse to replace a split.

    Raises:
        FileExistsError: if the folder holds a part of it.
    """
    for name in names_of_split(split):
        if (folder / name).exists():
            raise FileExistsError(
                f'{folder / name} exists already; give another folder or another --split'
            )


def write_recorded_data(
    recordings: Recordings,
    predictor: Predictor,
    split: str,
    blur: bool,
    folder: Path,
    progress: Callable[[Iterator[RecordedFrame]], Iterator[RecordedFrame]],
) -> int:
    """Write a split of all frames, whose things have the ids of their tracks as `track_id`.

    Args:
        recordings: where the frames are.
        predictor: the model.
        split: name of the split.
        blur: see `blurred`.
        folder: folder of the data set, which may hold other splits.
        progress: shows the progress.

    Returns:
        The number of frames.

    Raises:
        FileExistsError: see `check_split`.
        ValueError: if no frame can be read, or two frames of a camera have the same stamp.
        FolderInUseError: if another process writes to the folder.
    """
    with lock_folder(folder, 'data set'), run_folder(folder) as work:
        check_split(folder, split)
        sources = earlier_sources(folder)
        writer = PrelabelWriter(work, split, predictor.info.network_labels)
        trackers: dict[tuple[int, str], Tracker] = {}
        count = 0
        for source, image in progress(recordings.frames()):
            stem = recordings.file_stem(source)
            if stem in sources.images:
                raise ValueError(
                    f'{recordings.paths[source.recording]}: {source.camera} has two images with '
                    f'the stamp {source.stamp_ns}, or {folder} holds this one in another split'
                )
            tracker = trackers.setdefault((source.recording, source.camera), Tracker())
            frame = tracker.update(predictor.predict(image, source.stamp_ns / 1e9), image)
            pixels = np.empty((*image.pixels.shape[:2], 3), np.uint8)
            copy_rgb(image, pixels)
            if blur:
                pixels = blurred(pixels, frame, predictor.info.network_labels)
            writer.add(stem, pixels, frame)
            index = sources.index_of(recordings.paths[source.recording])
            sources.images[stem] = index, source.camera, source.stamp_ns
            count += 1
        if not count:
            raise ValueError('no image of the recordings can be read')
        writer.finish()
        sources.write(work)
        replace_results(work, folder, f'{split}.json')
    return count
