# SPDX-License-Identifier: Apache-2.0
"""Example node that marks people and cars in an occupancy grid around the robot, without Nav2.

Run it beside the node, with depth and camera_info (`points.stride: 4` is enough):

    python examples/costmap/people_and_cars.py --ros-args -p camera_z:=0.6 -p camera_pitch:=0.2

It publishes `costmap` (nav_msgs/OccupancyGrid) for each cloud on `panoptic/points`: 100 where a
person or a car stands, 0 where the camera sees anything else, -1 where it sees nothing. Walls and
kerbs are left to the lidar: combine the grids with the maximum.
"""

import json
from array import array
from dataclasses import dataclass

import numpy as np
import rclpy
from nav_msgs.msg import OccupancyGrid
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import QoSDurabilityPolicy, QoSProfile
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import String

from panoptic_ros import read_instances

OBSTACLE, FREE, UNSEEN = 100, 0, -1


@dataclass(frozen=True)
class Settings:
    """Pose of the camera on the robot, and the grid; each field is a parameter of the node."""

    camera_x: float = 0.0
    """Position of the camera in front of the robot's origin, m."""

    camera_y: float = 0.0
    """Position of the camera to the left of the robot's origin, m."""

    camera_z: float = 0.5
    """Height of the camera above the ground, m."""

    camera_pitch: float = 0.0
    """Angle by which the camera looks down, rad."""

    size_m: float = 20.0
    """Side of the grid, m; the robot stands in its middle."""

    resolution_m: float = 0.1
    """Side of a cell, m."""

    min_height_m: float = 0.1
    """Points below are ground, m."""

    max_height_m: float = 2.0
    """Points above do not hinder the robot, m."""

    min_confidence: float = 0.5
    """Points of which the model is less sure mark nothing, 0 to 1."""

    min_points: int = 3
    """Points of people and cars that mark a cell."""

    @property
    def cells(self) -> int:
        """Number of cells along a side."""
        return round(self.size_m / self.resolution_m)


def mark_obstacles(cloud: np.ndarray, class_ids: list[int], settings: Settings) -> np.ndarray:
    """Return the grid around the robot.

    Args:
        cloud: (N,) points of `panoptic/points`: x, y, z in the camera's optical frame (m, NaN
            without depth), class_id, confidence.
        class_ids: classes of obstacles.
        settings: camera and grid.

    Returns:
        (cells, cells) int8; rows go to the left of the robot, columns to the front.
    """
    cloud = cloud[np.isfinite(cloud['z'])]
    sine, cosine = np.sin(settings.camera_pitch), np.cos(settings.camera_pitch)
    front = settings.camera_x + cloud['z'] * cosine - cloud['y'] * sine
    left = settings.camera_y - cloud['x']
    height = settings.camera_z - cloud['y'] * cosine - cloud['z'] * sine
    n = settings.cells
    column, row = (
        np.floor(place / settings.resolution_m + n / 2).astype(int) for place in (front, left)
    )
    inside = (column >= 0) & (column < n) & (row >= 0) & (row < n)
    obstacle = (
        np.isin(cloud['class_id'], class_ids)
        & (cloud['confidence'] >= settings.min_confidence)
        & (height >= settings.min_height_m)
        & (height <= settings.max_height_m)
    )
    seen, marked = (
        np.bincount(row[chosen] * n + column[chosen], minlength=n * n)
        for chosen in (inside, inside & obstacle)
    )
    grid = np.where(seen > 0, FREE, UNSEEN)
    grid[marked >= settings.min_points] = OBSTACLE
    return grid.reshape(n, n).astype(np.int8)


class PeopleAndCars(Node):
    """Node that reads the clouds and publishes a grid for each."""

    def __init__(self) -> None:
        super().__init__('people_and_cars')
        self._names = self.declare_parameter('classes', ['person', 'cyclist', 'car']).value
        self._frame_id = self.declare_parameter('frame_id', 'base_link').value
        number = ParameterDescriptor(dynamic_typing=True)  # 10 is a number of metres like 10.0
        self._settings = Settings(
            **{
                name: type(default)(self.declare_parameter(name, default, number).value)
                for name, default in vars(Settings()).items()
            }
        )
        self._class_ids: list[int] = []
        self._grid = self.create_publisher(OccupancyGrid, 'costmap', 1)
        latched = QoSProfile(depth=1, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
        self.create_subscription(String, 'panoptic/label_info', self._on_labels, latched)
        self.create_subscription(PointCloud2, 'panoptic/points', self._on_points, 1)

    def _on_labels(self, message: String) -> None:
        ids = {label['name']: label['class_id'] for label in json.loads(message.data)['labels']}
        self._class_ids = [ids[name] for name in self._names if name in ids]
        missing = [name for name in self._names if name not in ids]
        if missing:
            self.get_logger().warning(f'the model has no {", ".join(missing)}')

    def _on_points(self, message: PointCloud2) -> None:
        if not self._class_ids:
            return
        settings = self._settings
        cells = mark_obstacles(read_instances(message), self._class_ids, settings)
        grid = OccupancyGrid(data=array('b', cells.tobytes()))
        grid.header.stamp = message.header.stamp
        grid.header.frame_id = self._frame_id
        grid.info.map_load_time = message.header.stamp
        grid.info.resolution = settings.resolution_m
        grid.info.width = grid.info.height = settings.cells
        grid.info.origin.position.x = grid.info.origin.position.y = -settings.size_m / 2
        self._grid.publish(grid)


def main() -> None:
    """Run until Ctrl-C."""
    rclpy.init()
    node = PeopleAndCars()
    try:
        rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except Exception:  # rclpy raises other kinds if Ctrl-C comes while it handles a message
        if rclpy.ok():
            raise
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == '__main__':
    main()
