# SPDX-License-Identifier: Apache-2.0
"""The node's parameters: one declaration each, and the texts that are made from them.

`python -m panoptic_ros.node.parameters` prints the content of config/panoptic.yaml.
"""

import json
import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from panoptic_ros.core.model_info import PRECISIONS
from panoptic_ros.core.settings import MAX_SHOWN, Setting, settings_of
from panoptic_ros.core.text import one_line
from panoptic_ros.images.files import MAX_IMAGE_PIXELS
from panoptic_ros.tracking.config import RENAMED, TrackerConfig

NODE = 'panoptic_node'

QOS_OVERRIDES = 'qos_overrides.'
"""Prefix of ROS's own parameters for the quality of service."""

MAX_NAMES = 5
"""Most names in an error message."""


def _choice(name: str, description: str, *choices: str, **attributes: Any) -> Setting:
    """Return a setting that takes one of several words, the first by default."""
    return Setting(
        name,
        choices[0],
        description,
        pattern='|'.join(choices),
        expected=f'one of {", ".join(choices)}',
        **{'read_only': True, **attributes},
    )


PARAMETERS = (
    Setting(
        'autostart',
        True,
        'Configure and activate at the start, without a request.',
        read_only=True,
    ),
    Setting('model', '', 'Model file (.onnx); empty: the one in the package.', at_reload=True),
    Setting(
        'backend',
        'auto',
        'Engine that runs the model; auto takes the fastest that works.',
        at_reload=True,
        pattern=r'(auto|tensorrt|tensorrt_rtx|onnxruntime|torch)(/\w+)?',
        expected='one of auto, tensorrt, tensorrt_rtx, onnxruntime, torch, or an engine with its '
        'mode after a slash',
    ),
    Setting(
        'device',
        'auto',
        'Device that runs the model; auto takes a GPU if there is one.',
        at_reload=True,
        pattern=r'auto|cpu|gpu|npu|cuda(:\d+)?',
        expected='one of auto, cpu, cuda, cuda:<index>, or gpu or npu for a backend such as '
        'onnxruntime/openvino',
    ),
    Setting(
        'allow_cpu',
        False,
        'Use the CPU if the requested GPU is not available, instead of failing.',
        at_reload=True,
    ),
    _choice(
        'precision',
        'Number format that the model file must have; auto takes any.',
        'auto',
        *PRECISIONS,
        read_only=False,
        at_reload=True,
    ),
    Setting(
        'engine_cache_dir',
        '',
        "Directory of built engines that only the node's user can write to; empty: in the user's "
        'cache directory.',
        at_reload=True,
    ),
    Setting(
        'load_timeout_s',
        1800.0,
        'Seconds after which loading a model, including building its engine, has failed.',
        minimum=1,
        maximum=86400,
    ),
    Setting(
        'cameras',
        ('camera',),
        'Names of the cameras; with several, the name precedes the topics of its camera.',
        read_only=True,
    ),
    _choice(
        'input_transport',
        'Image topic to subscribe to; auto: both until one delivers, and again when that one '
        'falls silent.',
        'auto',
        'raw',
        'compressed',
        per_camera=True,
    ),
    _choice(
        'input_reliability',
        'QoS reliability of the image subscription.',
        'best_effort',
        'reliable',
        per_camera=True,
    ),
    Setting(
        'max_rate_hz',
        0.0,
        'Most images per second that are processed; 0: no limit.',
        minimum=0,
        maximum=1000,
        per_camera=True,
    ),
    Setting(
        'max_age_ms',
        0.0,
        'Images whose stamp is older than this are dropped; 0: no limit.',
        minimum=0,
        maximum=1e6,
        per_camera=True,
    ),
    Setting(
        'idle_after_s',
        5.0,
        'Seconds without a subscriber to an output of a camera after which its images are not '
        'processed; 0: always process them.',
        minimum=0,
        maximum=86400,
        per_camera=True,
    ),
    Setting(
        'max_image_pixels',
        MAX_IMAGE_PIXELS,
        'Most pixels of an image; a larger one is a bad image and is not decoded.',
        minimum=1,
        maximum=2**31 - 1,
        per_camera=True,
    ),
    _choice(
        'output_scale',
        "Resolution of segments, semantic and confidence: the camera's, or that of the decoded "
        'maps.',
        'camera',
        'network',
        read_only=False,
        per_camera=True,
    ),
    _choice(
        'class_colors',
        "Colours of classes: easy to tell apart, or the model's own, those of its data set.",
        'distinct',
        'own',
        read_only=False,
        at_reload=True,
    ),
    Setting(
        'labels.remap',
        '',
        'File of classes (as `panoptic list classes MODEL --yaml` prints it) with the ids and '
        'colours to publish; classes that it does not list are not published; empty: those of the '
        'model.',
        at_reload=True,
    ),
    Setting('classes.include', (), 'Names of the classes to output; empty: all.', per_camera=True),
    Setting('classes.exclude', (), 'Names of the classes to leave out.', per_camera=True),
    Setting(
        'score_threshold',
        -1.0,
        'Segments with a lower score are left out.',
        minimum=0,
        maximum=1,
        default_meaning="the model's own",
        per_camera=True,
    ),
    Setting(
        'min_area',
        -1.0,
        'Smaller segments are left out, camera pixels.',
        minimum=0,
        maximum=1e9,
        default_meaning="the model's own",
        per_camera=True,
    ),
    Setting(
        'depth.max_offset_ms',
        50.0,
        'Largest difference between the stamps of an image and of the depth that is used for it.',
        minimum=0,
        maximum=1e4,
        per_camera=True,
    ),
    Setting(
        'points.stride',
        4,
        'Distance of the points of the cloud in the image, pixels; 1: every pixel has a point.',
        minimum=1,
        maximum=64,
        per_camera=True,
    ),
    Setting(
        'points.max_range',
        0.0,
        'Points further away along the optical axis are left out, metres; 0: no limit.',
        minimum=0,
        maximum=1e6,
        per_camera=True,
    ),
    Setting(
        'points.dense',
        False,
        'Publish only the points with a position, in one row; else the others are NaN.',
        per_camera=True,
    ),
    Setting(
        'cloud.max_offset_ms',
        100.0,
        "Largest difference between the stamps of an image and of the lidar's cloud that is used "
        'for it.',
        minimum=0,
        maximum=1e4,
        per_camera=True,
    ),
    Setting(
        'cloud.extrinsic',
        '',
        "Pose of the cloud's frame in the camera's optical frame as `x y z qx qy qz qw`, metres "
        'and a quaternion; empty: from TF.',
        read_only=True,
        per_camera=True,
    ),
    Setting(
        'tracker.enabled', True, 'Give things track ids that last across images.', per_camera=True
    ),
    *(replace(s, per_camera=True) for s in settings_of(TrackerConfig, 'tracker.')),
    Setting(
        'tracker.odom_frame',
        '',
        'Frame of TF that does not move with the robot, such as odom. With it and depth or a '
        'lidar, tracks are expected where their positions, which move with constant velocity in '
        'this frame, will be seen; empty: where they move to in the image.',
        read_only=True,
        per_camera=True,
    ),
    Setting(
        'smooth.stuff',
        False,
        'Replace the class of stuff in each pixel by the vote of the last images, which are moved '
        'with the camera if tracker.camera_motion measures its motion.',
        per_camera=True,
    ),
    Setting(
        'diagnostics.warn_latency_ms',
        200.0,
        'WARN if the 95th percentile of the time from arrival to publishing is at least this.',
        minimum=0,
        maximum=1e6,
        per_camera=True,
    ),
    Setting(
        'diagnostics.error_latency_ms',
        1000.0,
        'ERROR if the 95th percentile of the time from arrival to publishing is at least this.',
        minimum=0,
        maximum=1e6,
        per_camera=True,
    ),
    Setting(
        'diagnostics.warn_rate_hz',
        5.0,
        'WARN if fewer images per second are published.',
        minimum=0,
        maximum=1000,
        per_camera=True,
    ),
)

BY_NAME: Mapping[str, Setting] = {parameter.name: parameter for parameter in PARAMETERS}

AT_RELOAD = tuple(parameter.name for parameter in PARAMETERS if parameter.at_reload)
"""Parameters that decide which model is loaded, and how."""

PER_CAMERA = frozenset(parameter.name for parameter in PARAMETERS if parameter.per_camera)
"""Names of the parameters that can also be set for one camera, as `<camera>.<parameter>`."""


def present_name(name: str) -> str | None:
    """Return the present name of a parameter that was renamed, None for all other names."""
    renamed = RENAMED.get(name.removeprefix('tracker.'))
    return renamed and f'tracker.{renamed}'


def join_names(names: Iterable[str], comment: Callable[[str], str] = lambda name: '') -> str:
    """Join the first names, each followed by a comment, and the number of the others."""
    names = [one_line(name, MAX_SHOWN) or repr(name) for name in names]
    shown = [f'{name}{comment(name)}' for name in names[:MAX_NAMES]]
    more = [f'{len(names) - MAX_NAMES} more'] if len(names) > MAX_NAMES else []
    return ', '.join(shown + more)


def parameter_yaml() -> str:
    """Return the content of config/panoptic.yaml: all parameters with their defaults."""
    lines = [
        '# All parameters with their defaults. Those marked * may change while the node runs',
        '# (ros2 param set), those marked ** with effect at the service ~/reload_model; the',
        '# others only before it is configured. Those marked @ may also be set for one of the',
        '# cameras, as <camera>.<parameter>.',
        '# Made by `python -m panoptic_ros.node.parameters`.',
        '/**:',
        '  ros__parameters:',
    ]
    last_group = ''
    for parameter in PARAMETERS:
        group, _, name = parameter.name.rpartition('.')
        if group and group != last_group:
            lines.append(f'    {group}:')
        last_group = group
        indent = ' ' * (6 if group else 4)
        lines += textwrap.wrap(
            parameter.description,
            99,
            initial_indent=f'{indent}# ',
            subsequent_indent=f'{indent}# ',
        )
        mark = '' if parameter.read_only else '** ' if parameter.at_reload else '* '
        mark += '@ ' if parameter.per_camera else ''
        lines.append(
            f'{indent}{name}: {_default(parameter)}  # {mark}{parameter.accepted_values()}'
        )
    return '\n'.join(lines) + '\n'


def parameter_table() -> str:
    """Return a table of all parameters in Markdown."""
    return '\n'.join(
        [
            '| parameter | default | accepted values | may change while running | per camera '
            '| description |',
            '|---|---|---|---|---|---|',
            *(
                f'| `{p.name}` | `{_default(p)}` | {p.accepted_values()} '
                f'| {_change(p)} | {"yes" if p.per_camera else "no"} '
                f'| {p.description} |'
                for p in PARAMETERS
            ),
        ]
    )


def _change(parameter: Setting) -> str:
    if parameter.at_reload:
        return 'with effect at `~/reload_model`'
    return 'no' if parameter.read_only else 'yes'


def _default(parameter: Setting) -> str:
    """Return a parameter's default in YAML; ROS needs an element in a list, and ignores ''."""
    return json.dumps([''] if parameter.default == () else parameter.default)


if __name__ == '__main__':
    print(parameter_yaml(), end='')
