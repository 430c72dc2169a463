# SPDX-License-Identifier: Apache-2.0
"""Recording of the demo for the Rerun viewer: images, segments, tracks, metres, diagnostics."""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.frame import read_instances
from panoptic_ros.core.labels import VOID_ID
from panoptic_ros.images.messages import header_stamp_ns, header_stamp_s
from panoptic_ros.node.diagnostics import Level
from panoptic_ros.node.markers import ADD, ARROW, CUBE, TEXT_VIEW_FACING
from panoptic_ros.node.node_health import read_health
from panoptic_ros.node.topics import (
    DIAGNOSTICS,
    INSTANCES,
    LABEL_INFO,
    MARKERS,
    POINTS,
    RECORDED_INPUT,
    SEGMENTS,
    SEMANTIC,
)
from panoptic_ros.recordings.bag_types import typestore

IMAGE, WORLD, HEALTH = 'camera/image', 'world', 'diagnostics'
"""Roots of the entities."""

MAX_WAITING = 100
"""Most images that wait for a result; a superseded image gets none."""

OPACITY = 0.5
"""Opacity of segments over the image."""

POINT_M = 0.02
"""Radius of the points of a cloud, m."""

LEVELS = {Level.OK: 'INFO', Level.WARN: 'WARN', Level.ERROR: 'ERROR', Level.STALE: 'WARN'}


class RerunLog:
    """Writer of an .rrd file from the serialised messages of camera and node."""

    def __init__(self, path: Path, topics: Mapping[str, str]) -> None:
        """Open the file.

        Args:
            path: of the new file.
            topics: message type by topic; topics that the log does not show are ignored.

        Raises:
            ImportError: if rerun-sdk is not installed.
        """
        import rerun

        self._rerun = rerun
        self._types = dict(topics)
        self._store = typestore(topics.values())
        self._names: dict[int, str] = {}  # of classes
        self._images: dict[int, Any] = {}  # that have no result yet, by stamp, ns
        self._said: dict[str, tuple[Level, str]] = {}  # level and message by status
        self._loggers: dict[str, Callable[[Any], None]] = {
            RECORDED_INPUT: self._keep_image,
            LABEL_INFO: self._log_labels,
            SEMANTIC: self._log_classes,
            SEGMENTS: self._log_segments,
            INSTANCES: self._log_tracks,
            MARKERS: self._log_markers,
            POINTS: self._log_points,
            DIAGNOSTICS: self._log_diagnostics,
        }
        self._stream = rerun.RecordingStream('panoptic_ros_demo')
        self._stream.save(path, default_blueprint=_layout(rerun))
        # x right, y down, z forward, as in the camera's optical frame.
        self._stream.log(WORLD, rerun.ViewCoordinates.RDF, static=True)

    def __enter__(self) -> 'RerunLog':
        return self

    def __exit__(self, *error: object) -> None:
        self._stream.disconnect()  # completes the file

    def take(self, topic: str, data: bytes) -> None:
        """Log one message.

        Args:
            topic: without a leading slash.
            data: the message in CDR.
        """
        log = self._loggers.get(topic)
        if log is None:
            return
        message: Any = self._store.deserialize_cdr(data, self._types[topic])
        if hasattr(message, 'header'):
            self._stream.set_time('stamp', timestamp=header_stamp_s(message))
        log(message)

    def _keep_image(self, message: Any) -> None:
        """Keep an image until its segments arrive, so that it is never shown with others."""
        self._images[header_stamp_ns(message)] = message
        if len(self._images) > MAX_WAITING:
            del self._images[next(iter(self._images))]

    def _log_image(self, message: Any) -> None:
        media_type = 'image/png' if 'png' in message.format else 'image/jpeg'
        image = self._rerun.EncodedImage(contents=message.data.tobytes(), media_type=media_type)
        self._stream.log(IMAGE, image)

    def _log_labels(self, message: Any) -> None:
        labels = json.loads(message.data)['labels']
        self._names = {label['class_id']: label['name'] for label in labels}
        classes = [(label['class_id'], label['name'], label['color']) for label in labels]
        if VOID_ID not in self._names:
            classes.append((VOID_ID, 'void', (0, 0, 0, 0)))
        self._stream.log('camera', self._rerun.AnnotationContext(classes), static=True)

    def _log_classes(self, message: Any) -> None:
        self._log_map(f'{IMAGE}/classes', message, np.uint8)

    def _log_segments(self, message: Any) -> None:
        image = self._images.pop(header_stamp_ns(message), None)
        if image is not None:
            self._log_image(image)
        self._log_map(f'{IMAGE}/segments', message, np.uint16)

    def _log_map(self, path: str, message: Any, kind: Any) -> None:
        ids = message.data.view(kind).reshape(message.height, message.width)
        self._stream.log(path, self._rerun.SegmentationImage(ids, opacity=OPACITY))

    def _log_tracks(self, message: Any) -> None:
        rows = read_instances(message)
        rows = rows[rows['is_thing'] == 1]
        names = [self._names.get(i, f'class {i}') for i in rows['class_id'].tolist()]
        boxes = self._rerun.Boxes2D(
            mins=_columns(rows, 'bbox_x', 'bbox_y'),
            sizes=_columns(rows, 'bbox_w', 'bbox_h'),
            class_ids=rows['class_id'].astype(np.uint16),
            labels=[
                f'{name} #{track_id} {score:.2f}'
                for name, track_id, score in zip(
                    names, rows['track_id'], rows['score'], strict=True
                )
            ],
        )
        self._stream.log(f'{IMAGE}/tracks', boxes)

    def _log_markers(self, message: Any) -> None:
        """Log boxes, labels and arrows of an array that replaces those of the one before."""
        markers = message.markers
        if not markers:
            return
        self._stream.set_time('stamp', timestamp=header_stamp_s(markers[0]))
        added = [marker for marker in markers if marker.action == ADD]
        boxes, texts, arrows = (
            [marker for marker in added if marker.type == kind]
            for kind in (CUBE, TEXT_VIEW_FACING, ARROW)
        )
        self._stream.log(
            f'{WORLD}/boxes',
            self._rerun.Boxes3D(
                centers=[_xyz(m.pose.position) for m in boxes],
                sizes=[_xyz(m.scale) for m in boxes],
                quaternions=[(*_xyz(m.pose.orientation), m.pose.orientation.w) for m in boxes],
                colors=_colors(boxes),
            ),
        )
        self._stream.log(
            f'{WORLD}/labels',
            self._rerun.Points3D(
                [_xyz(m.pose.position) for m in texts],
                labels=[m.text for m in texts],
                colors=_colors(texts),
            ),
        )
        ends = [(_xyz(m.points[0]), _xyz(m.points[1])) for m in arrows if len(m.points) == 2]
        self._stream.log(
            f'{WORLD}/velocities',
            self._rerun.Arrows3D(
                origins=[start for start, _ in ends],
                vectors=[np.subtract(end, start) for start, end in ends],
            ),
        )

    def _log_points(self, message: Any) -> None:
        """Log the cloud of the image, in the image's colours."""
        rows = read_instances(message).reshape(-1)
        rows = rows[np.isfinite(rows['z'])]
        rgb = np.ascontiguousarray(rows['rgb']).view('<u4')
        points = self._rerun.Points3D(
            _columns(rows, 'x', 'y', 'z'),
            colors=np.stack([rgb >> 16, rgb >> 8, rgb], axis=1).astype(np.uint8),
            radii=POINT_M,
        )
        self._stream.log(f'{WORLD}/points', points)

    def _log_diagnostics(self, message: Any) -> None:
        health = read_health(message)
        if health is None or not health.active:  # while it loads, there is nothing to see
            return
        figures = {'rate_hz': health.rate_hz}
        figures |= {f'latency_ms/{name}': health.latency_ms(name) for name in ('p50', 'p95')}
        for name, value in figures.items():
            self._stream.log(f'{HEALTH}/{name}', self._rerun.Scalars(value))
        for task, status in health.statuses.items():
            said = status.level, status.message
            if self._said.get(task) != said:
                self._said[task] = said
                text = self._rerun.TextLog(f'{task}: {status.message}', level=LEVELS[status.level])
                self._stream.log(f'{HEALTH}/messages', text)


def _layout(rerun: Any) -> Any:
    """Return the viewer's layout: image and boxes beside each other, diagnostics below."""
    import rerun.blueprint as blueprint

    return blueprint.Blueprint(
        blueprint.Vertical(
            blueprint.Horizontal(
                blueprint.Spatial2DView(
                    origin=IMAGE,
                    name='Camera',
                    overrides={f'{IMAGE}/segments': blueprint.EntityBehavior(visible=False)},
                ),
                blueprint.Spatial3DView(origin=WORLD, name='Metres'),
            ),
            blueprint.Horizontal(
                blueprint.TimeSeriesView(origin=f'{HEALTH}/latency_ms', name='Latency, ms'),
                blueprint.TimeSeriesView(origin=f'{HEALTH}/rate_hz', name='Rate, Hz'),
                blueprint.TextLogView(origin=f'{HEALTH}/messages', name='Messages'),
            ),
            row_shares=[3, 1],
        ),
        collapse_panels=True,
    )


def _columns(rows: npt.NDArray[np.void], *names: str) -> npt.NDArray[np.float32]:
    """Return fields of the instance table as columns, (S, names)."""
    return np.stack([rows[name] for name in names], axis=1)


def _xyz(vector: Any) -> tuple[float, float, float]:
    return vector.x, vector.y, vector.z


def _colors(markers: Iterable[Any]) -> list[list[float]]:
    """Return RGBA of markers, 0 to 1."""
    return [[m.color.r, m.color.g, m.color.b, m.color.a] for m in markers]
