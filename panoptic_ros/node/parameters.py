# SPDX-License-Identifier: Apache-2.0
"""The node's parameters in one table: defaults, ranges, and what may change while it runs."""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from panoptic_ros.core.documents import read_yaml
from panoptic_ros.core.text import one_line
from panoptic_ros.images.files import MAX_IMAGE_PIXELS
from panoptic_ros.tracking import TrackerConfig

NODE = 'panoptic_node'

MODEL_DEFAULT = -1.0
"""Value of a threshold that leaves it to the model."""

QOS_OVERRIDES = 'qos_overrides.'
"""Prefix of ROS's own parameters for the quality of service."""

_ROS_OWN = re.compile(r'use_sim_time|start_type_description_service|qos_overrides\..*')

MAX_SHOWN = 100
"""Most characters of a name or value that a message shows."""

MAX_NAMES = 5
"""Most names that a message shows."""


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
            if value is None:
                return ()
            if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
                return tuple(item for item in value if item)
        elif isinstance(default, float) and type(value) in (int, float):
            least = 0 if default == MODEL_DEFAULT != value else self.minimum
            if least <= value <= self.maximum:
                return float(value)
        elif type(value) is type(default) and (
            re.fullmatch(self.pattern, value)
            if isinstance(value, str)
            else self.minimum <= value <= self.maximum
        ):
            return value
        hint = (
            f'; as a list it is [{one_line(value, MAX_SHOWN)}]'
            if isinstance(default, tuple) and isinstance(value, str)
            else ''
        )
        raise ValueError(f'{self.name} must be {self.describe()}, got {_show(value)}{hint}')

    def describe(self) -> str:
        """What values it takes, in words."""
        if self.expected:
            return self.expected
        if isinstance(self.default, tuple):
            return 'a list of strings'
        if isinstance(self.default, bool):
            return 'true or false'
        if isinstance(self.default, str):
            return 'a string'
        if self.default == MODEL_DEFAULT:
            return f"-1 (the model's own) or a number from 0 to {self.maximum:g}"
        kind = 'a number' if isinstance(self.default, float) else 'an integer'
        return f'{kind} from {self.minimum:g} to {self.maximum:g}'


def _choice(name: str, description: str, *choices: str, changeable: bool = False) -> Parameter:
    return Parameter(
        name,
        choices[0],
        description,
        changeable,
        pattern='|'.join(choices),
        expected=f'one of {", ".join(choices)}',
    )


def _number(
    name: str, default: float, minimum: float, maximum: float, description: str
) -> Parameter:
    return Parameter(name, default, description, True, minimum, maximum)


_TRACKER = TrackerConfig()

PARAMETERS = (
    Parameter('autostart', True, 'Configure and activate without being told to.'),
    Parameter('model', '', 'Model file (.onnx); empty: the one in the package.'),
    Parameter(
        'backend',
        'auto',
        'Engine that runs the model; auto takes the fastest that works.',
        pattern=r'(auto|tensorrt|onnxruntime|torch)(/\w+)?',
        expected='one of auto, tensorrt, onnxruntime, torch, or an engine with its mode '
        'after a slash',
    ),
    Parameter(
        'device',
        'auto',
        'Device that runs the model; auto takes a GPU if there is one.',
        pattern=r'auto|cpu|cuda(:\d+)?',
        expected='one of auto, cpu, cuda, cuda:<index>',
    ),
    Parameter(
        'allow_cpu',
        False,
        'Use the CPU where the GPU that was asked for is not available, instead of failing.',
    ),
    _choice('precision', 'Number format of the engine.', 'auto', 'fp32', 'fp16'),
    Parameter('engine_cache_dir', '', "Directory of built engines; empty: the user's cache."),
    _number(
        'load_timeout_s',
        1800.0,
        1.0,
        86400.0,
        'Seconds after which loading a model, engine building included, has failed.',
    ),
    Parameter('cameras', ('camera',), 'Names of the cameras; exactly one for now.'),
    _choice(
        'input_transport',
        'Which image topic to subscribe; auto: both until one delivers, '
        'and again when that falls silent.',
        'auto',
        'raw',
        'compressed',
    ),
    _choice(
        'input_reliability',
        'QoS reliability of the image subscription.',
        'best_effort',
        'reliable',
    ),
    _number('max_rate_hz', 0.0, 0.0, 1000.0, 'Most images a second to work on; 0: no limit.'),
    _number('max_age_ms', 0.0, 0.0, 1e6, 'Images whose stamp is older are dropped; 0: any age.'),
    Parameter(
        'max_image_pixels',
        MAX_IMAGE_PIXELS,
        'Most pixels of an image; a larger one is a bad image and is not decoded.',
        True,
        1,
        2**31 - 1,
    ),
    _choice(
        'output_scale',
        "Resolution of segments and semantic: the camera's, or that of the decoded maps.",
        'camera',
        'network',
        changeable=True,
    ),
    Parameter('classes.include', (), 'Names of the classes to output; empty: all.', True),
    Parameter('classes.exclude', (), 'Names of the classes to leave out.', True),
    _number(
        'score_threshold',
        MODEL_DEFAULT,
        -1.0,
        1.0,
        "Segments with a lower score are left out; -1: the model's own threshold.",
    ),
    _number(
        'min_area',
        MODEL_DEFAULT,
        -1.0,
        1e9,
        "Smaller segments are left out, camera px; -1: the model's own threshold.",
    ),
    Parameter('tracker.enabled', True, 'Give things track ids that last across images.', True),
    _number(
        'tracker.max_age',
        _TRACKER.max_age,
        0.0,
        3600.0,
        'Seconds that a track outlives its last match, by image stamps.',
    ),
    Parameter(
        'tracker.min_hits',
        _TRACKER.min_hits,
        'Images in a row that confirm a track.',
        True,
        1,
        1000,
    ),
    *(
        _number(
            f'tracker.{name}', getattr(_TRACKER, name), float(minimum), float(maximum), description
        )
        for name, minimum, maximum, description in (
            (
                'embedding_weight',
                0,
                1000,
                "Weight of the embeddings' distance in the cost of a match.",
            ),
            ('iou_weight', 0, 1000, 'Weight of missing overlap in the cost of a match.'),
            ('gate', 0, 1, 'A match must cost less than this.'),
            ('class_cost', 0, 1, 'Cost of a class that the track never had; 1: no match.'),
            ('high_score', 0, 1, 'Segments from this score on choose their tracks first.'),
            ('weak_gate', 0, 1, 'The gate of weaker segments.'),
            ('new_score', 0, 1, 'Segments below this score start no track.'),
            (
                'tentative_age',
                0,
                3600,
                'Seconds that a track outlives its last match before it is '
                'confirmed; 0: it ends at its first miss.',
            ),
            (
                'reid_gate',
                0,
                1,
                'Left-over segments and tracks match by embedding alone below this '
                'distance; 0: never.',
            ),
            (
                'reid_reach',
                0,
                1000,
                "They are no further apart than this many times the thing's size per second.",
            ),
            ('near_factor', 1, 100, 'Boxes are made larger by this before they are compared.'),
            ('near_growth', 0, 100, 'Added to near_factor for each second unseen.'),
            ('min_overlap', 0, 1, 'Things that overlap less than this do not match.'),
            ('velocity_s', 0, 3600, 'Seconds over which velocities are averaged.'),
            ('embedding_s', 0, 3600, 'Seconds over which embeddings are averaged.'),
            (
                'embedding_spread',
                0,
                2,
                "Cosine distance that an unknown track's embedding is expected to vary by.",
            ),
            (
                'spread_factor',
                0,
                1000,
                "Multiples of its spread that an embedding's distance is measured in.",
            ),
            ('class_s', 0, 3600, 'Seconds over which classes and scores are averaged.'),
        )
    ),
    Parameter(
        'tracker.smooth',
        _TRACKER.smooth,
        'Things get the class that their track was voted and its mean score.',
        True,
    ),
    _number(
        'diagnostics.warn_latency_ms',
        200.0,
        0.0,
        1e6,
        'WARN from this p95 of arrival to published.',
    ),
    _number(
        'diagnostics.error_latency_ms',
        1000.0,
        0.0,
        1e6,
        'ERROR from this p95 of arrival to published.',
    ),
    _number(
        'diagnostics.warn_rate_hz', 5.0, 0.0, 1000.0, 'WARN below this rate of published images.'
    ),
)

BY_NAME: Mapping[str, Parameter] = {parameter.name: parameter for parameter in PARAMETERS}


def read_parameters(path: Path | None) -> dict[str, Any]:
    """The node's settings as a parameter file gives them; the defaults without one.

    Args:
        path: YAML as for `ros2 run --params-file`: `/**` or the node's name in any namespace, and
            `ros__parameters` in it.

    Raises:
        OSError, ValueError: if it cannot be read, names an unknown parameter, or a value is
            refused.
    """
    values: dict[str, Any] = {parameter.name: parameter.default for parameter in PARAMETERS}
    if path is None:
        return values
    if not path.is_file():
        raise FileNotFoundError(
            f'{path} is a folder, expected a parameter file'
            if path.is_dir()
            else f'no parameter file at {path}'
        )
    blocks = dict(parameter_blocks(read_yaml(path)))
    own = [block for name, block in blocks.items() if name.split('/')[-1] in (NODE, '*', '**')]
    if not own:
        others = f'; it has parameters of {_some(blocks)}' if blocks else ''
        raise ValueError(
            f'{path} is no parameter file of the node: expected `/**:` or '
            f'`{NODE}:`, and `ros__parameters:` in it{others}'
        )
    if odd := [block for block in own if not isinstance(block, dict)]:
        raise ValueError(
            f'{path}: ros__parameters must hold names and values, got {_show(odd[0])}'
        )
    given = {
        name: value
        for block in own
        for name, value in _flat(block)
        if not _ROS_OWN.fullmatch(name)
    }
    if unknown := describe_unknown(given):
        raise ValueError(f'{path}: the node does not have these parameters: {unknown}')
    try:
        return values | {name: BY_NAME[name].check(value) for name, value in given.items()}
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from None


def parameter_blocks(document: Any, name: str = '') -> Iterator[tuple[str, Any]]:
    """Find the names of nodes, wildcards included, in a parameter file.

    Args:
        document: what the file holds.
        name: of the namespace that it stands for.

    Yields:
        Absolute name, and what its `ros__parameters` holds.
    """
    if not isinstance(document, dict):
        return
    for key, value in document.items():
        if key == 'ros__parameters':
            yield name or '/', {} if value is None else value
        else:
            yield from parameter_blocks(value, f'{name}/{str(key).strip("/")}')


def is_for(pattern: str, node: str) -> bool:
    """Return whether a name of `parameter_blocks` applies to a node with an absolute name."""
    parts = {'*': '/[^/]+', '**': '(/[^/]+)*'}
    return bool(
        re.fullmatch(
            ''.join(parts.get(part, '/' + re.escape(part)) for part in pattern.split('/')[1:]),
            node,
        )
    )


def describe_unknown(names: Iterable[str]) -> str:
    """List the names that are no parameters of the node, each with the nearest that is one.

    Returns:
        A text for people, empty if all names are known.
    """
    unknown = [str(name) for name in names if name not in BY_NAME]
    return _some(
        unknown,
        lambda name: ''.join(
            f' (did you mean {near}?)' for near in get_close_matches(name, BY_NAME, 1)
        ),
    )


def _some(names: Iterable[str], comment: Callable[[str], str] = lambda name: '') -> str:
    """Join the first names, each with a comment behind it."""
    names = [one_line(name, MAX_SHOWN) for name in names]
    shown = [f'{name}{comment(name)}' for name in names[:MAX_NAMES]]
    more = [f'{len(names) - MAX_NAMES} more'] if len(names) > MAX_NAMES else []
    return ', '.join(shown + more)


def _show(value: Any) -> str:
    value = value.tolist() if isinstance(value, array) else value
    return one_line(repr(value), MAX_SHOWN)


def _flat(block: Mapping[Any, Any], prefix: str = '') -> Iterator[tuple[str, Any]]:
    """Names with their groups before a dot, as ROS joins them."""
    for name, value in block.items():
        if isinstance(value, dict):
            yield from _flat(value, f'{prefix}{name}.')
        else:
            yield f'{prefix}{name}', value


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
            raise ValueError(
                f'{name} is read-only while the node is configured; clean the node up first'
            )
    return checked
