# SPDX-License-Identifier: Apache-2.0
"""Markers of the things of an image for RViz and Foxglove: boxes, labels and velocities."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from panoptic_ros.core.labels import LabelSet
from panoptic_ros.node.messages import MessageTypes
from panoptic_ros.node.metric_messages import located_things, set_point
from panoptic_ros.node.scene import Scene

LIFETIME_S = 1
"""Seconds after which a marker disappears if no image follows."""

MIN_SPEED = 0.3
"""Least speed that has an arrow, m/s; below it an arrow would show noise."""

MIN_SIDE_M = 0.02
"""Least side of a box."""

TEXT_HEIGHT_M = 0.25
SHAFT_M, HEAD_M = 0.06, 0.14
"""Diameters of the shaft and the head of an arrow."""

OPACITY = 0.35
"""Opacity of boxes."""

BOXES, LABELS, VELOCITIES = 'boxes', 'labels', 'velocities'
"""Namespaces; the id of a marker is the track id."""

ARROW, CUBE, TEXT_VIEW_FACING = 0, 1, 9
ADD, DELETE = 0, 2
"""Constants of visualization_msgs/Marker."""

Key = tuple[str, int]
"""Namespace and id of a marker."""


class MarkerWriter:
    """Maker of the markers of successive images; messages are kept and used again."""

    def __init__(self, types: MessageTypes) -> None:
        self._types = types
        self._shown: dict[Key, Any] = {}  # the markers of the last image

    def __call__(self, header: Any, labels: LabelSet, scene: Scene) -> Any:
        """Return the markers of an image as a visualization_msgs/MarkerArray.

        Markers that the last image had and this one does not have are deleted.

        Args:
            header: of the image.
            labels: the classes.
            scene: the image's scene.

        Returns:
            None if there is nothing to show or to delete.
        """
        shown = dict(self._markers(header, labels, scene))
        deleted = [self._deleted(header, key) for key in self._shown.keys() - shown.keys()]
        self._shown = shown
        if not shown and not deleted:
            return None
        return self._types.make(
            'visualization_msgs/msg/MarkerArray', markers=[*deleted, *shown.values()]
        )

    def _markers(self, header: Any, labels: LabelSet, scene: Scene) -> Iterator[tuple[Key, Any]]:
        if scene.positions is None:
            return
        rows, positions = scene.frame.segments, scene.positions
        names, colors = labels.names, labels.as_drawn().colors
        for i in located_things(scene):
            row, low, high = rows[i], positions.low[i], positions.high[i]
            # Without a tracker, ids are those of the segments.
            number = int(row['track_id'] or row['segment_id'])
            class_id, at = int(row['class_id']), np.array([row['x'], row['y'], row['z']])
            color = [float(c) / 255 for c in colors[class_id]]
            key = BOXES, number
            box = self._marker(header, key, CUBE, [*color, OPACITY])
            set_point(box.pose.position, (low + high) / 2)
            set_point(box.scale, np.maximum(high - low, MIN_SIDE_M))
            yield key, box
            key = LABELS, number
            text = self._marker(header, key, TEXT_VIEW_FACING, [1.0, 1.0, 1.0, 1.0])
            # Above the box: y points down.
            set_point(text.pose.position, (at[0], low[1] - TEXT_HEIGHT_M, at[2]))
            text.scale.z = TEXT_HEIGHT_M
            text.text = f'{names[class_id]} {number}  {np.linalg.norm(at):.1f} m'
            yield key, text
            velocity = scene.velocity[i]
            if np.linalg.norm(velocity) > MIN_SPEED:  # not if it is NaN
                key = VELOCITIES, number
                arrow = self._marker(header, key, ARROW, [*color, 1.0])
                arrow.scale.x, arrow.scale.y = SHAFT_M, HEAD_M
                if not arrow.points:
                    arrow.points = [self._types.make('geometry_msgs/msg/Point') for _ in 'ab']
                set_point(arrow.points[0], at)
                set_point(arrow.points[1], at + velocity)  # of one second
                yield key, arrow

    def _marker(self, header: Any, key: Key, kind: int, rgba: list[float]) -> Any:
        """Return the message of a marker, with the values that do not depend on the place."""
        marker = self._shown.get(key)
        if marker is None:
            marker = self._types.make('visualization_msgs/msg/Marker', type=kind, action=ADD)
            marker.ns, marker.id = key
            marker.pose.orientation.w = 1.0
            marker.lifetime.sec = LIFETIME_S
        marker.header = header
        marker.color.r, marker.color.g, marker.color.b, marker.color.a = rgba
        return marker

    def _deleted(self, header: Any, key: Key) -> Any:
        marker = self._types.make('visualization_msgs/msg/Marker', header=header, action=DELETE)
        marker.ns, marker.id = key
        return marker
