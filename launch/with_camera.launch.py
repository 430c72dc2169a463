# SPDX-License-Identifier: Apache-2.0
"""Launch file that starts a camera driver and the node on its topics.

Example: ros2 launch panoptic_ros with_camera.launch.py driver:=realsense

The arguments of panoptic.launch.py work here too. Both processes have the transport profile for
large images. For other settings of a driver, start it in a launch file of your own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    GroupAction,
    IncludeLaunchDescription,
    OpaqueFunction,
    ResetLaunchConfigurations,
)
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

NODE_LAUNCH = Path(__file__).resolve().with_name('panoptic.launch.py')


class Driver(NamedTuple):  # a dataclass needs its module, which launch does not register
    """A camera driver, started as a process or by its own launch file."""

    package: str

    node: dict[str, str]
    """Arguments of panoptic.launch.py: topics, and the frame of the image."""

    values: dict[str, Any]
    """Parameters of the process, or arguments of the launch file."""

    argument: str
    """The one of these that `camera` replaces."""

    executable: str = ''
    """Executable, if it is started as a process."""

    launch_file: str = ''
    """File in the package's folder `launch`, if it is started by that."""


V4L_TOPICS = {'image': '/camera/image_raw', 'camera_info': '/camera/camera_info'}
REALSENSE, ZED = '/camera/camera', '/zed/zed_node'

DRIVERS = {
    'usb_cam': Driver(
        'usb_cam',
        V4L_TOPICS,
        {
            'video_device': '/dev/video0',
            'pixel_format': 'mjpeg2rgb',
            'image_width': 1280,
            'image_height': 720,
            'framerate': 30.0,
            'frame_id': 'camera',
        },
        'video_device',
        executable='usb_cam_node_exe',
    ),
    'v4l2': Driver(
        'v4l2_camera',
        V4L_TOPICS,
        {'video_device': '/dev/video0', 'image_size': [1280, 720], 'camera_frame_id': 'camera'},
        'video_device',
        executable='v4l2_camera_node',
    ),
    'realsense': Driver(
        'realsense2_camera',
        {
            'image': f'{REALSENSE}/color/image_raw',
            'camera_info': f'{REALSENSE}/color/camera_info',
            'depth': f'{REALSENSE}/aligned_depth_to_color/image_raw',
            'rviz_frame': 'camera_color_optical_frame',
        },
        {
            'serial_no': "''",
            'align_depth.enable': 'true',
            'enable_sync': 'true',
            'rgb_camera.color_profile': '640x480x30',
            'depth_module.depth_profile': '640x480x30',
        },
        'serial_no',
        launch_file='rs_launch.py',
    ),
    'zed': Driver(
        'zed_wrapper',
        {
            'image': f'{ZED}/rgb/color/rect/image',
            'camera_info': f'{ZED}/rgb/color/rect/camera_info',
            'depth': f'{ZED}/depth/depth_registered',
            'rviz_frame': 'zed_left_camera_frame_optical',
        },
        {'camera_model': 'zed2i'},
        'camera_model',
        launch_file='zed_camera.launch.py',
    ),
}
"""Drivers by name."""

ARGUMENTS = {
    'driver': ('usb_cam', f'one of {", ".join(DRIVERS)}'),
    'camera': (
        '',
        'with usb_cam and v4l2 the video device, with realsense the serial number and _ before '
        'it, with zed the camera model; empty: /dev/video0, the first camera, zed2i',
    ),
}


def _start(context: LaunchContext) -> list[Node | GroupAction | IncludeLaunchDescription]:
    """Return the node on the driver's topics, and the driver."""
    name = LaunchConfiguration('driver').perform(context)
    if name not in DRIVERS:
        raise RuntimeError(f'driver must be one of {", ".join(DRIVERS)}, got {name!r}')
    driver = DRIVERS[name]
    camera = LaunchConfiguration('camera').perform(context)
    values = driver.values | ({driver.argument: camera} if camera else {})
    if driver.executable:
        start: Node | GroupAction = Node(
            package=driver.package,
            executable=driver.executable,
            namespace='camera',
            output='screen',
            parameters=[values],
        )
    else:
        path = Path(get_package_share_directory(driver.package), 'launch', driver.launch_file)
        # Some of its arguments have the names of arguments of the node.
        start = GroupAction([ResetLaunchConfigurations(), _include(path, values)])
    # The node's launch file comes first: it sets the transport profile for both.
    return [_include(NODE_LAUNCH, driver.node), start]


def _include(path: Path, arguments: dict[str, Any]) -> IncludeLaunchDescription:
    return IncludeLaunchDescription(str(path), launch_arguments=list(arguments.items()))


def generate_launch_description() -> LaunchDescription:
    """Return the launch description."""
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value=default, description=text)
                for name, (default, text) in ARGUMENTS.items()
            ),
            OpaqueFunction(function=_start),
        ]
    )
