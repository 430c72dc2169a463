"""The node's parameters in one table: defaults, ranges, and what may change while it runs."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node

from panoptic_ros.tracking import TrackerConfig

MODEL_DEFAULT = -1.0
"""Value of a threshold that leaves it to the model."""


@dataclass(frozen=True)
class Parameter:
    """One parameter; its type is its default's. A list is one of strings."""

    name: str
    default: bool | int | float | str | tuple[str, ...]
    description: str

    changeable: bool = False
    """May change while the node is configured; else only before."""

    minimum: float = -math.inf
    maximum: float = math.inf

    pattern: str = '(?s).*'
    """What a string must match in full."""

    expected: str = ''
    """That pattern in words."""

    def check(self, value: Any) -> Any:
        """The value in this parameter's type; a double takes an integer, a list an empty one.

        Raises:
            ValueError: if it has another type or is out of range; says what is expected.
        """
        default = self.default
        if isinstance(default, tuple):
            values = tuple(value or ())
            if all(isinstance(item, str) for item in values):
                return tuple(item for item in values if item)
        elif isinstance(default, float) and type(value) in (int, float):
            if self.minimum <= value <= self.maximum:
                return float(value)
        elif type(value) is type(default) and (
                re.fullmatch(self.pattern, value) if isinstance(value, str)
                else self.minimum <= value <= self.maximum):
            return value
        raise ValueError(f'{self.name} must be {self._expected()}, got {value!r}')

    def descriptor(self) -> ParameterDescriptor:
        """What `ros2 param describe` shows."""
        descriptor = ParameterDescriptor(
            description=self.description,
            additional_constraints=f'{self._expected()}; ' + (
                'may change while running' if self.changeable
                else 'read-only while the node is configured'),
            # A static double would refuse `10` for `10.0`; a static list an empty one.
            dynamic_typing=isinstance(self.default, (float, tuple)))
        if isinstance(self.default, float):
            descriptor.floating_point_range = [FloatingPointRange(
                from_value=self.minimum, to_value=self.maximum)]
        elif type(self.default) is int:
            descriptor.integer_range = [IntegerRange(
                from_value=int(self.minimum), to_value=int(self.maximum))]
        return descriptor

    def _expected(self) -> str:
        if self.expected:
            return self.expected
        if isinstance(self.default, tuple):
            return 'a list of strings'
        if isinstance(self.default, bool):
            return 'true or false'
        if isinstance(self.default, str):
            return 'a string'
        kind = 'a number' if isinstance(self.default, float) else 'an integer'
        return f'{kind} from {self.minimum:g} to {self.maximum:g}'


def _choice(name: str, description: str, *choices: str, changeable: bool = False) -> Parameter:
    return Parameter(name, choices[0], description, changeable, pattern='|'.join(choices),
                     expected=f'one of {", ".join(choices)}')


def _number(name: str, default: float, minimum: float, maximum: float,
            description: str) -> Parameter:
    return Parameter(name, default, description, True, minimum, maximum)


_TRACKER = TrackerConfig()

PARAMETERS = (
    Parameter('autostart', True, 'Configure and activate without being told to.'),
    Parameter('model', '', 'Model file (.onnx); empty: the one in the package.'),
    Parameter('backend', 'auto', 'Engine that runs the model; auto takes the fastest that works.',
              pattern=r'(auto|tensorrt|onnxruntime|torch)(/\w+)?',
              expected='one of auto, tensorrt, onnxruntime, torch, or an engine with its mode '
                       'after a slash'),
    Parameter('device', 'auto', 'Device that runs the model; auto takes a GPU if there is one.',
              pattern=r'auto|cpu|cuda(:\d+)?', expected='one of auto, cpu, cuda, cuda:<index>'),
    Parameter('allow_cpu', False, 'Go on with the CPU where the GPU that was asked for is not '
                                  'to be had, instead of failing.'),
    _choice('precision', 'Number format of the engine.', 'auto', 'fp32', 'fp16'),
    Parameter('engine_cache_dir', '', 'Directory of built engines; empty: the user\'s cache.'),
    Parameter('cameras', ('camera',), 'Names of the cameras; exactly one for now.'),
    _choice('input_transport', 'Which image topic to subscribe; auto: both, until one delivers.',
            'auto', 'raw', 'compressed'),
    _choice('input_reliability', 'QoS reliability of the image subscription.',
            'best_effort', 'reliable'),
    _number('max_rate_hz', 0.0, 0.0, 1000.0, 'Most images a second to work on; 0: no limit.'),
    _number('max_age_ms', 0.0, 0.0, 1e6, 'Images whose stamp is older are dropped; 0: any age.'),
    _choice('output_scale', 'Resolution of segments and semantic: the camera\'s, or that of the '
                            'decoded maps.', 'camera', 'network', changeable=True),
    Parameter('classes.include', (), 'Names of the classes to output; empty: all.', True),
    Parameter('classes.exclude', (), 'Names of the classes to leave out.', True),
    _number('score_threshold', MODEL_DEFAULT, -1.0, 1.0,
            'Segments with a lower score are left out; -1: the model\'s own threshold.'),
    _number('min_area', MODEL_DEFAULT, -1.0, 1e9,
            'Smaller segments are left out, camera px; -1: the model\'s own threshold.'),
    Parameter('tracker.enabled', True, 'Give things track ids that last across images.', True),
    _number('tracker.max_age', _TRACKER.max_age, 0.0, 3600.0,
            'Seconds that a track outlives its last match, by image stamps.'),
    Parameter('tracker.min_hits', _TRACKER.min_hits, 'Images in a row that confirm a track.', True,
              1, 1000),
    *(_number(f'tracker.{name}', getattr(_TRACKER, name), float(minimum), float(maximum),
              description)
      for name, minimum, maximum, description in (
          ('embedding_weight', 0, 1000, 'Weight of the embeddings\' distance in the cost of a '
                                        'match.'),
          ('iou_weight', 0, 1000, 'Weight of missing overlap in the cost of a match.'),
          ('gate', 0, 1, 'A match must cost less than this.'),
          ('class_cost', 0, 1, 'Cost of a class that the track never had; 1: no match.'),
          ('high_score', 0, 1, 'Segments from this score on choose their tracks first.'),
          ('weak_gate', 0, 1, 'The gate of weaker segments.'),
          ('new_score', 0, 1, 'Segments below this score start no track.'),
          ('tentative_age', 0, 3600, 'Seconds that a track outlives its last match before it is '
                                     'confirmed; 0: it ends at its first miss.'),
          ('reid_gate', 0, 1, 'Left-over segments and tracks match by embedding alone below this '
                              'distance; 0: never.'),
          ('reid_reach', 0, 1000, 'They are no further apart than this many times the thing\'s '
                                  'size per second.'),
          ('near_factor', 1, 100, 'Boxes are made larger by this before they are compared.'),
          ('near_growth', 0, 100, 'Added to near_factor for each second unseen.'),
          ('min_overlap', 0, 1, 'Things that overlap less than this do not match.'),
          ('velocity_s', 0, 3600, 'Seconds over which velocities are averaged.'),
          ('embedding_s', 0, 3600, 'Seconds over which embeddings are averaged.'),
          ('embedding_spread', 0, 2, 'Cosine distance that an unknown track\'s embedding is '
                                     'expected to vary by.'),
          ('spread_factor', 0, 1000, 'Multiples of its spread that an embedding\'s distance is '
                                     'measured in.'),
          ('class_s', 0, 3600, 'Seconds over which classes and scores are averaged.'))),
    Parameter('tracker.smooth', _TRACKER.smooth, 'Things get the class that their track was voted '
                                                 'and its mean score.', True),
    _number('diagnostics.warn_latency_ms', 200.0, 0.0, 1e6,
            'WARN from this p95 of arrival to published.'),
    _number('diagnostics.error_latency_ms', 1000.0, 0.0, 1e6,
            'ERROR from this p95 of arrival to published.'),
    _number('diagnostics.warn_rate_hz', 5.0, 0.0, 1000.0,
            'WARN below this rate of published images.'),
)

BY_NAME: Mapping[str, Parameter] = {parameter.name: parameter for parameter in PARAMETERS}


def declare_parameters(node: Node) -> tuple[dict[str, Any], list[str]]:
    """Declares all parameters with the values given at the start.

    Returns:
        The values by name, and one line for each given value that was refused; the default
        stands in its place.
    """
    values, refused = {}, []
    for parameter in PARAMETERS:
        default = list(parameter.default) if isinstance(parameter.default, tuple) \
            else parameter.default
        try:
            given = node.declare_parameter(parameter.name, default, parameter.descriptor())
            values[parameter.name] = parameter.check(given.value)
            continue
        except (InvalidParameterTypeException, InvalidParameterValueException,
                ValueError) as error:
            refused.append(f'{error}; going on with {default!r}'.replace('\n', ' '))
        if node.has_parameter(parameter.name):
            node.undeclare_parameter(parameter.name)
        node.declare_parameter(parameter.name, default, parameter.descriptor(),
                               ignore_override=True)
        values[parameter.name] = parameter.default
    return values, refused


def check_changes(changes: Mapping[str, Any], configured: bool) -> dict[str, Any]:
    """Checks new values, in their parameter's type; names that are not ours are left out.

    Raises:
        ValueError: for the first value that is refused, with the reason.
    """
    checked = {}
    for name, value in changes.items():
        parameter = BY_NAME.get(name)
        if parameter is None:  # use_sim_time and the like
            continue
        checked[name] = parameter.check(value)
        if configured and not parameter.changeable:
            raise ValueError(f'{name} is read-only while the node is configured; '
                             'clean the node up first')
    for name in ('score_threshold', 'min_area'):
        if MODEL_DEFAULT < checked.get(name, 0) < 0:
            raise ValueError(f'{name} must be -1 (the model\'s own) or at least 0, '
                             f'got {checked[name]}')
    return checked
