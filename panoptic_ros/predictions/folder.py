# SPDX-License-Identifier: Apache-2.0
"""Folder of predictions: overlays, PNGs of ids and one JSON file in COCO's panoptic format.

`.progress/` keeps a line of JSON per image, with which a stopped run resumes and from which the
JSON file is written, so that memory does not grow with the number of images.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.coco_format import categories, segments_info
from panoptic_ros.core.files import TEMPORARY, atomic_write, write_bytes
from panoptic_ros.core.frame import PanopticFrame
from panoptic_ros.core.id_png import write_png
from panoptic_ros.core.image import encode_jpeg
from panoptic_ros.core.image_frame import at_camera
from panoptic_ros.core.labels import LabelSet
from panoptic_ros.core.outputs import Results
from panoptic_ros.predictions.image_ids import ImageId
from panoptic_ros.predictions.inputs import Clip, Still
from panoptic_ros.predictions.prediction import Prediction
from panoptic_ros.recordings.overlay_video import OverlayVideo

SETTINGS = 'predict.json'
"""File with everything that the predictions depend on."""

RESULTS = Results(('overlays', 'predictions', 'predictions.json', SETTINGS))
"""Results of `panoptic predict`."""

JPEG_QUALITY = 90

LASTING = 1 << 23
"""Ids from here on are of segments without a track, in PNGs whose ids last."""

Record = dict[str, Any]
"""An image in the log: `name` and `state` of the input, the path `out` of its results, and the
entries `image` and `annotation` of the JSON file."""


class PredictionFolder:
    """Writer of the results, which knows those of earlier runs with the same settings.

    Args:
        folder: locked by the caller.
        labels: the model's classes.
        settings: as in SETTINGS; copied into the JSON file.
        image_ids: ids of images by name; others have their name as id.
    """

    def __init__(
        self,
        folder: Path,
        labels: LabelSet,
        settings: Mapping[str, Any],
        image_ids: Mapping[str, ImageId],
    ) -> None:
        self.folder, self.labels, self.settings = folder, labels, settings
        self.image_ids = image_ids
        self.overlays, self.pngs = folder / 'overlays', folder / 'predictions'
        self._log, self._clips = folder / '.progress/images.jsonl', folder / '.progress/clips'
        self._states: dict[str, list[str | int]] = {}
        self._places: dict[str, int] = {}
        """Byte in the log of the latest record of each image file."""
        self._owners: dict[str, str] = {}
        """Name of the input by its path below the folders of results, without suffix."""
        self._ids: dict[ImageId, str] = {}
        """Name of the image by its id."""
        self._clips.mkdir(parents=True, exist_ok=True)
        self._log.touch()
        complete = 0
        for place, end, record in _read_log(self._log):
            self._places[record['name']] = place
            self._remember(record)
            complete = end
        os.truncate(self._log, complete)  # removes what a killed process wrote in part
        for path in self._clip_logs():
            for _, _, record in _read_log(path):
                self._remember(record)

    def is_done(self, item: Still | Clip) -> bool:
        """Return whether an earlier run has finished an image or a video.

        Raises:
            ValueError: if the results of another file have this name.
        """
        old = self._states.get(item.name)
        if old is None:
            return False
        state = item.state()
        if old[0] != state[0]:
            raise ValueError(
                f'{self.folder} holds the results of {old[0]}, which has the name {item.name} '
                f'too, as {state[0]}; choose another folder'
            )
        out = self._out(item)
        files = (
            (self._overlay_video(out), self._clip_log(out))
            if isinstance(item, Clip)
            else (self._overlay(out), self.pngs / f'{out}.png')
        )
        return old == state and all(file.exists() for file in files)

    @property
    def is_empty(self) -> bool:
        """Whether neither this run nor an earlier one has written a result."""
        return not self._states and not self.pngs.exists()

    def remove(self) -> None:
        """Remove the files of an empty folder, so that another model can use it."""
        shutil.rmtree(self._log.parent)
        (self.folder / SETTINGS).unlink()

    def write(self, still: Still, state: list[str | int], prediction: Prediction) -> None:
        """Write the results of an image file, which had this state before it was read."""
        out = self._out(still)
        record = self.write_png(prediction, out)
        record |= {'name': still.name, 'state': state, 'out': out}
        overlay = encode_jpeg(prediction.overlay(), JPEG_QUALITY)
        path = self._overlay(out)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(overlay, path)
        with self._log.open('ab') as log:
            self._places[still.name] = log.tell()
            log.write(_line(record))
        self._remember(record)

    @contextmanager
    def clip(self, clip: Clip, track: bool) -> Iterator['ClipWriter']:
        """Write the results of a video; without an error the whole video is done at the end."""
        out = self._out(clip)
        for path in (self._overlay_video(out), self._clip_log(out)):
            path.parent.mkdir(parents=True, exist_ok=True)
        with (
            atomic_write(self._overlay_video(out)) as picture_path,
            OverlayVideo(picture_path, clip.source.rate_hz) as video,
            atomic_write(self._clip_log(out)) as log_path,
            log_path.open('wb') as log,
        ):
            yield ClipWriter(self, clip, out, video, log, track)
            if not video.frames:
                raise ValueError(f'no frame of {clip.path} can be read')

    def save(self) -> None:
        """Write the JSON file of all finished images."""
        with (
            atomic_write(self.folder / 'predictions.json') as path,
            path.open('w', encoding='utf-8') as file,
        ):
            file.write(f'{{"info": {json.dumps(dict(self.settings))}')
            for key, part in (('images', 'image'), ('annotations', 'annotation')):
                file.write(f',\n"{key}": [')
                for index, record in enumerate(self._records()):
                    file.write(f'{"," * (index > 0)}\n{json.dumps(record[part])}')
                file.write('\n]')
            file.write(f',\n"categories": {json.dumps(categories(self.labels))}}}\n')

    def write_png(self, prediction: Prediction, out: str, track: bool = False) -> Record:
        """Write the PNG of an image, and return the entries of the JSON file.

        Args:
            prediction: of the image.
            out: path of the PNG below their folder, without suffix.
            track: whether ids last; see `lasting_ids`.
        """
        frame = at_camera(prediction.frame, self.labels)
        info, ids = segments_info(frame, self.labels), frame.segments['segment_id']
        if track:
            ids = lasting_ids(frame)
            for segment, i in zip(info, ids.tolist(), strict=True):
                segment['id'] = i
        path = self.pngs / f'{out}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        write_png(frame.paint(ids, 0), path)
        height, width = frame.segment_map.shape
        image_id = self._image_id(out, prediction.name)
        return {
            'image': {
                'id': image_id,
                'file_name': prediction.name,
                'height': height,
                'width': width,
            },
            'annotation': {'image_id': image_id, 'file_name': f'{out}.png', 'segments_info': info},
        }

    def _image_id(self, out: str, name: str) -> ImageId:
        """Return the id of an image: its number if it is named by one, as in COCO."""
        if name in self.image_ids:
            return self.image_ids[name]
        number = int(out) if out.isascii() and out.isdecimal() and len(out) < 16 else out
        return number if self._ids.setdefault(number, name) == name else name

    def _out(self, item: Still | Clip) -> str:
        """Return the path of an input's results without suffix, which no other input has."""
        stem, _, suffix = item.name.rpartition('.')
        first = item.name if item.path.is_dir() else _stem(item.name)
        for out in (first, f'{stem}_{suffix}', item.name):
            if self._owners.setdefault(out, item.name) == item.name:
                return out
        raise ValueError(f'{item.name}: other inputs have similar names; rename it')

    def _overlay(self, out: str) -> Path:
        return self.overlays / f'{out}.jpg'

    def _overlay_video(self, out: str) -> Path:
        return self.overlays / f'{out}.mp4'

    def _clip_log(self, out: str) -> Path:
        return self._clips / f'{out}.jsonl'

    def _clip_logs(self) -> list[Path]:
        logs = self._clips.rglob('*.jsonl')
        return sorted(path for path in logs if not path.name.startswith(TEMPORARY))

    def _remember(self, record: Record) -> None:
        self._states[record['name']] = record['state']
        self._owners[record['out']] = record['name']
        self._ids[record['image']['id']] = record['image']['file_name']

    def _records(self) -> Iterator[Record]:
        for place, _, record in _read_log(self._log):
            if self._places[record['name']] == place:
                yield record
        for path in self._clip_logs():
            for _, _, record in _read_log(path):
                yield record


class ClipWriter:
    """Writer of the frames of a video."""

    def __init__(
        self,
        folder: PredictionFolder,
        clip: Clip,
        out: str,
        video: OverlayVideo,
        log: IO[bytes],
        track: bool,
    ) -> None:
        self._folder, self._clip, self._out, self._track = folder, clip, out, track
        self._video, self._log, self._state = video, log, clip.state()
        self._stems: set[str] = set()

    def write(self, prediction: Prediction) -> None:
        """Write the results of a frame."""
        # A folder can have the name of the video without its ending, and images of its own.
        stem = _stem(prediction.name)
        name = prediction.name if stem in self._stems else stem
        self._stems.add(name)
        record = self._folder.write_png(prediction, name, self._track)
        record |= {'name': self._clip.name, 'state': self._state, 'out': self._out}
        self._video.add(prediction.overlay(), prediction.frame.stamp_s)
        self._log.write(_line(record))


def lasting_ids(frame: PanopticFrame) -> npt.NDArray[np.uint32]:
    """Return ids of the segments of a tracked frame that last through a video, (S,).

    A thing has 256 plus its track id, and stuff 1 plus its class id. Things without a track, and
    further segments of a class of stuff, have ids from LASTING on, which are valid for one image.
    """
    rows = frame.segments
    ids = np.where(rows['is_thing'] == 1, 256 + rows['track_id'], 1 + rows['class_id'])
    first = np.zeros(len(rows), bool)
    first[np.unique(ids, return_index=True)[1]] = True
    lasts = first & ((rows['track_id'] > 0) | (rows['is_thing'] == 0)) & (ids < LASTING)
    return np.where(lasts, ids, LASTING + rows['segment_id']).astype(np.uint32)


def _stem(name: str) -> str:
    return PurePosixPath(name).with_suffix('').as_posix()


def _line(record: Record) -> bytes:
    return f'{json.dumps(record, separators=(",", ":"))}\n'.encode()


def _read_log(path: Path) -> Iterator[tuple[int, int, Record]]:
    """Yield start, end and content of the lines of a log, up to the first incomplete line."""
    place = 0
    with path.open('rb') as log:
        for line in log:
            if not line.endswith(b'\n'):
                return
            try:
                record = json.loads(line)
            except ValueError:
                return
            yield place, place + len(line), record
            place += len(line)
