# SPDX-License-Identifier: Apache-2.0
"""Launch file that starts the node on one camera or several.

Examples:
    ros2 launch panoptic_ros panoptic.launch.py image:=/camera/image_raw model:=city.onnx
    ros2 launch panoptic_ros panoptic.launch.py cameras:=front,rear image:=/{camera}/image_raw
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml
from ament_index_python.packages import get_packages_with_prefixes
from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

CONFIG = Path(__file__).resolve().parents[1] / 'config'

ARGUMENTS = {
    'cameras': ('', 'names of the cameras with commas between; empty: those of params_file'),
    'image': (
        'image',
        'topic of the camera; <image>/compressed is used if it delivers first. With several '
        'cameras {camera} in it is replaced by the name of each; without {camera}, that name '
        'precedes the topic',
    ),
    'image_compressed': ('', 'topic of the compressed image, if it has another name'),
    'camera_info': ('', 'topic of the camera_info, if it has another name'),
    'depth': ('', 'topic of the depth image that is registered to the image'),
    'cloud': ('', 'topic of the point cloud of a lidar'),
    'model': ('', 'model file; empty: the one of params_file, else the packaged one'),
    'backend': (
        '',
        'auto, tensorrt, tensorrt_rtx, onnxruntime or torch; empty: the one of params_file',
    ),
    'device': ('', 'auto, cpu, cuda or cuda:<index>; empty: the one of params_file'),
    'input_transport': ('', 'auto, raw or compressed; empty: the one of params_file'),
    'score_threshold': ('', 'least score of a segment, 0 to 1; empty: the one of params_file'),
    'autostart': ('', 'false leaves the lifecycle to others; empty: the one of params_file'),
    'namespace': ('', 'namespace of the node and its topics'),
    'params_file': (str(CONFIG / 'panoptic.yaml'), "YAML file of the node's parameters"),
    'use_sim_time': ('false', 'true for a bag that is played with --clock'),
    'log_level': ('', 'debug, info, warn, error or fatal; or <logger>:=<level> for one logger'),
    'respawn': ('false', 'true starts the node again after it has ended without a request'),
    'rviz': ('false', 'true also shows overlay, markers and clouds in RViz, if that is installed'),
    'rviz_frame': ('camera', "fixed frame of RViz: the camera's optical frame, or one of TF"),
}

RESPAWN_DELAY_S = 2.0
"""Time until a node that has ended is started again, seconds."""

PROFILE_VARIABLES = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')
"""Environment variables of Humble and Jazzy, and of Kilted and later."""

ENVIRONMENT = {
    # Images need larger shared memory segments than Fast DDS has by default.
    **dict.fromkeys(PROFILE_VARIABLES, str(CONFIG / 'fastdds.xml')),
    # With an arena for each thread, memory of models that were replaced is not used again.
    'MALLOC_ARENA_MAX': '1',
}
"""Variables that are set unless the user has set them."""


def _remapping(topic: str, name: str, camera: str, several: bool) -> tuple[str, str]:
    """Return the remapping of a camera's topic to the name that the user gave."""
    if not several:
        return topic, name
    named = name.replace('{camera}', camera) if '{camera}' in name else f'{camera}/{name}'
    return f'{camera}/{topic}', named


def _node(context: LaunchContext) -> list[Node]:
    """Return the node; empty arguments leave the values of the parameter file."""
    given = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    parameters: dict[str, Any] = {
        name: given[name]
        for name in ('model', 'backend', 'device', 'input_transport')
        if given[name]
    }
    # The node says what is wrong with a value of another type.
    for name in ('score_threshold', 'autostart'):
        if given[name]:
            parameters[name] = yaml.safe_load(given[name])
    parameters['use_sim_time'] = given['use_sim_time'].lower() == 'true'
    cameras = [name.strip() for name in given['cameras'].strip('[]').split(',') if name.strip()]
    if cameras:
        parameters['cameras'] = cameras
    topics = {
        'image': given['image'],
        'image/compressed': given['image_compressed'],
        **{name: given[name] for name in ('camera_info', 'depth', 'cloud')},
    }
    remappings = [
        _remapping(topic, name, camera, len(cameras) > 1)
        for camera in cameras or ['']
        for topic, name in topics.items()
        if name
    ]
    return [
        Node(
            package='panoptic_ros',
            executable='panoptic_node',
            name='panoptic_node',
            namespace=given['namespace'],
            output='screen',
            remappings=remappings,
            parameters=[given['params_file'], parameters],
            ros_arguments=['--log-level', given['log_level']] if given['log_level'] else [],
            respawn=given['respawn'].lower() == 'true',
            respawn_delay=RESPAWN_DELAY_S,
        )
    ]


def _rviz(context: LaunchContext) -> list[Node | LogInfo]:
    """Return RViz if it is requested and installed; the node does not need it."""
    if LaunchConfiguration('rviz').perform(context).lower() != 'true':
        return []
    if 'rviz2' not in get_packages_with_prefixes():
        return [
            LogInfo(
                msg='rviz:=true needs RViz: sudo apt install '
                f'ros-{os.environ.get("ROS_DISTRO", "<distribution>")}-rviz2'
            )
        ]
    return [
        Node(
            package='rviz2',
            executable='rviz2',
            namespace=LaunchConfiguration('namespace').perform(context),
            arguments=[
                *('-d', str(CONFIG / 'panoptic.rviz')),
                *('-f', LaunchConfiguration('rviz_frame').perform(context)),
            ],
        )
    ]


def generate_launch_description() -> LaunchDescription:
    """Return the launch description."""
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value=default, description=text)
                for name, (default, text) in ARGUMENTS.items()
            ),
            *(
                SetEnvironmentVariable(name, value)
                for name, value in ENVIRONMENT.items()
                if name not in os.environ
            ),
            OpaqueFunction(function=_node),
            OpaqueFunction(function=_rviz),
        ]
    )
