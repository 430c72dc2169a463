# SPDX-License-Identifier: Apache-2.0
"""Images to a live node at a steady rate, and the instances that it publishes."""

import time

import numpy as np
from node_process import Graph, image_message
from sensor_msgs.msg import PointCloud2
from tiny_model import paint_scene

from panoptic_ros import read_instances

RATE_HZ = 15.0


class ImageStream:
    """Camera of a node, and the results with their times of arrival."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.results: list[tuple[float, PointCloud2]] = []  # time of arrival and message
        self._image = image_message(paint_scene(240, 480), 0)
        self._parts = (
            graph.node.create_timer(1 / RATE_HZ, self._publish),
            graph.node.create_subscription(
                PointCloud2,
                'panoptic/instances',
                lambda message: self.results.append((time.monotonic(), message)),
                10,
            ),
        )
        graph.until(lambda: len(self.results) > 5)

    def close(self) -> None:
        timer, subscription = self._parts
        self.graph.node.destroy_timer(timer)
        self.graph.node.destroy_subscription(subscription)

    def _publish(self) -> None:
        self._image.header.stamp = self.graph.node.get_clock().now().to_msg()
        self.graph.image.publish(self._image)

    def next_table(self) -> np.ndarray:
        """Return the table of an image that is published from now on."""
        seen = len(self.results)
        self.graph.until(lambda: len(self.results) > seen + 2)
        return read_instances(self.results[-1][1])

    def longest_gap_s(self, since_s: float) -> float:
        """Return the longest time between two results, the first before `since_s`."""
        times = [time_s for time_s, _ in self.results]
        first = max(i for i, time_s in enumerate(times) if time_s <= since_s)
        return float(np.diff(times[first:]).max())
