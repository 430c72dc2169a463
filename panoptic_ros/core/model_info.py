# SPDX-License-Identifier: Apache-2.0
"""Description of a model: classes, input, thresholds and outputs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.card import check_card
from panoptic_ros.core.labels import UNKNOWN, UNKNOWN_COLOR, Label, LabelSet, find_name
from panoptic_ros.core.text import did_you_mean

PRECISIONS = ('fp32', 'fp16', 'int8')
"""Number formats that a graph's network can have."""

CALIBRATED = ('score', 'confidence')
"""Outputs that a calibration can change."""

TEMPERATURES, SHIFTS = (0.2, 5.0), (-5.0, 5.0)
"""Ranges of a calibration; within them float32 can apply and undo it."""

MAX_TEXT_CHARS = 500
"""Maximum length of a text; names are logged and published."""

MAX_INPUT_SIDE = 8192
"""Maximum side of a network's input, px."""

MAX_BATCH = 64
"""Maximum number of images that a graph takes at once."""

MAX_NUMBER = 1e30
"""Maximum absolute value of a number; fits into float32."""


class Outputs(NamedTuple):
    """Outputs of the graph for one image, a map of segments and a table of S rows.

    The graph of a batch gives arrays with an axis of the images before the others.

    Row r describes the segment with id r + 1. S is a constant of the model; rows whose `valid` is
    False have no meaning.
    """

    segment_map: npt.NDArray[np.int32]
    """(h, w) segment id, 0 for void; one cell per `stride` input pixels."""

    semantic_map: npt.NDArray[np.uint8]
    """(h, w) class id, VOID_ID for void."""

    class_id: npt.NDArray[np.int32]
    """(S,) class id."""

    score: npt.NDArray[np.float32]
    """(S,) in [0, 1]."""

    box: npt.NDArray[np.float32]
    """(S, 4) x1, y1, x2, y2 in cells; x2 and y2 are exclusive."""

    centroid: npt.NDArray[np.float32]
    """(S, 2) mean (x, y) of the segment's cell centres, in cells."""

    area: npt.NDArray[np.int32]
    """(S,) number of cells."""

    embedding: npt.NDArray[np.float32]
    """(S, D) embedding, see `ModelInfo.embedding_kind`."""

    valid: npt.NDArray[np.bool_]
    """(S,) True for rows that describe a segment."""

    confidence: npt.NDArray[np.uint8] | None = None
    """(h, w) probability of the class or mask of a cell times 255, 0 on void; None for a model
    file of version 0.1.0."""


OUTPUTS = Outputs._fields


@dataclass(frozen=True)
class Threshold:
    """Scalar input of the graph that may change from image to image."""

    default: float
    minimum: float
    maximum: float
    description: str

    def __post_init__(self) -> None:
        for name in ('default', 'minimum', 'maximum'):
            _require_number(name, getattr(self, name))
        _require_text('description', self.description)
        if not self.minimum <= self.default <= self.maximum:
            raise ValueError(
                f"a threshold's default must lie in {self.minimum} to "
                f'{self.maximum}, got {self.default}'
            )


@dataclass(frozen=True)
class Scaling:
    """Monotone map of probabilities, p' = sigmoid(logit(p) / temperature + shift)."""

    temperature: float = 1.0
    """Over 1 moves probabilities towards 1/2."""

    shift: float = 0.0
    """Below 0 makes probabilities smaller."""


@dataclass(frozen=True)
class ModelInfo:
    """Description of a model, from its file's metadata."""

    name: str
    family: str
    labels: LabelSet
    """Classes that are published: those of the network, and UNKNOWN at the end if segments can be
    unknown."""

    input_size: tuple[int, int]
    """(height, width), px."""

    stride: int
    """Input pixels per cell of the decoded maps."""

    mean: tuple[float, float, float]
    """RGB, from 0 to 1; the graph subtracts it from the image."""

    std: tuple[float, float, float]
    """RGB, over 0; the graph divides the image by it."""

    embedding_dim: int
    embedding_kind: str
    """Meaning of a row's embedding, e.g. `embedding at the instance's seed`."""

    thresholds: Mapping[str, Threshold]
    """Scalar inputs by name; always with `score_threshold` and `min_area` (input px)."""

    config: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of the family's module, to build it again."""

    recipe_hash: str = ''
    """SHA-256 of the training recipe; empty for untrained weights."""

    scores: Mapping[str, float] = field(default_factory=dict)
    """Validation scores by name; PQ in percent."""

    package_version: str = ''
    """Version of this package that wrote the file."""

    precision: str = 'fp32'
    """Number format that the network computes in, one of PRECISIONS; decoding has float32."""

    card: Mapping[str, str] = field(default_factory=dict)
    """Model card by field of `CARD_FIELDS`."""

    calibration: Mapping[str, Scaling] = field(default_factory=dict)
    """Scaling by output, some of CALIBRATED, that the graph applies; see `core.calibration`."""

    unknown: Mapping[str, float] = field(default_factory=dict)
    """Least score by class name; a segment below it is UNKNOWN; see `with_unknown`."""

    batch: int = 1
    """Number of images that the graph takes at once. From 2 on all its inputs and outputs have an
    axis of the images before the others."""

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Shape of the graph's input `image`: (H, W, 3), or (N, H, W, 3) for a batch of N."""
        return *((self.batch,) if self.batch > 1 else ()), *self.input_size, 3

    @property
    def threshold_shape(self) -> tuple[int, ...]:
        """Shape of the graph's thresholds: (), or (N,) for a batch of N."""
        return (self.batch,) if self.batch > 1 else ()

    @property
    def unknown_id(self) -> int | None:
        """Class id of segments whose class is withheld; None if the file withholds none."""
        return len(self.labels) - 1 if self.unknown else None

    @property
    def network_labels(self) -> LabelSet:
        """Classes that the network predicts, those that it was trained on."""
        return (
            replace(self.labels, labels=self.labels.labels[:-1]) if self.unknown else self.labels
        )

    def with_unknown(self, least: Mapping[str, float]) -> 'ModelInfo':
        """Return the description of a file that withholds the classes of unsure segments.

        Args:
            least: least score by class name, which replaces that of this file; empty for a file
                that withholds none.

        Raises:
            ValueError: for a class that the network does not have, or a network with a class of
                the name UNKNOWN.
        """
        labels = self.network_labels
        if not least:
            return replace(self, labels=labels, unknown={})
        if UNKNOWN in labels.names:
            raise ValueError(f'the model has a class of its own with the name {UNKNOWN}')
        named = {
            labels.names[find_name(name, labels.names)]: value for name, value in least.items()
        }
        category = max(label.category_id for label in labels.labels) + 1
        label = Label(UNKNOWN, is_thing=True, color=UNKNOWN_COLOR, category_id=category)
        return replace(self, labels=replace(labels, labels=(*labels.labels, label)), unknown=named)

    def with_thresholds(self, values: Mapping[str, float]) -> 'ModelInfo':
        """Return the description with other defaults of some thresholds, areas in input px.

        Raises:
            ValueError: for a threshold that the model does not have, or a value out of its range.
        """
        for name, value in values.items():
            if name not in self.thresholds:
                raise ValueError(
                    f'the model has no threshold {name!r}{did_you_mean(name, self.thresholds)}; '
                    f'its thresholds are: {", ".join(self.thresholds)}'
                )
            least, most = self.thresholds[name].minimum, self.thresholds[name].maximum
            if not _is_number(value, least, most):
                raise ValueError(f'{name} must be {least:g} to {most:g}, got {value!r}')
        changed = {
            name: replace(self.thresholds[name], default=value) for name, value in values.items()
        }
        return replace(self, thresholds={**self.thresholds, **changed})

    def __post_init__(self) -> None:
        for name in ('name', 'family', 'embedding_kind', 'recipe_hash', 'package_version'):
            _require_text(name, getattr(self, name))
        for name, rule, holds in _RULES:
            _require(holds(self), f'{name} must be {rule.format(self)}', getattr(self, name))
        for name in self.labels.names:
            _require_text('a class name', name)
        for name, value in self.thresholds.items():
            _require(
                isinstance(value, Threshold), f'threshold {name!r} must be a Threshold', value
            )
        for name, score in self.scores.items():
            _require_number(f'score {name!r}', score)
        check_card(self.card)
        missing = {'score_threshold', 'min_area'} - set(self.thresholds)
        if missing:
            raise ValueError(
                f'a model needs the thresholds score_threshold and min_area, '
                f'lacks {", ".join(sorted(missing))}'
            )


_RULES: tuple[tuple[str, str, Callable[[ModelInfo], bool]], ...] = (
    ('labels', 'a LabelSet', lambda info: isinstance(info.labels, LabelSet)),
    ('stride', 'a whole number from 1', lambda info: _is_integer(info.stride, 1)),
    (
        'input_size',
        f'(height, width), 1 to {MAX_INPUT_SIDE} px',
        lambda info: (
            len(info.input_size) == 2
            and all(_is_integer(n, 1, MAX_INPUT_SIDE) for n in info.input_size)
        ),
    ),
    (
        'input_size',
        'multiples of the stride {0.stride}',
        lambda info: not any(n % info.stride for n in info.input_size),
    ),
    (
        'mean',
        'three numbers from 0 to 1',
        lambda info: len(info.mean) == 3 and all(_is_number(v, 0, 1) for v in info.mean),
    ),
    (
        'std',
        'three numbers over 0',
        lambda info: len(info.std) == 3 and all(_is_number(v, 0) and v > 0 for v in info.std),
    ),
    ('embedding_dim', 'a whole number from 0', lambda info: _is_integer(info.embedding_dim)),
    ('thresholds', 'an object', lambda info: isinstance(info.thresholds, Mapping)),
    ('config', 'an object', lambda info: isinstance(info.config, Mapping)),
    ('scores', 'an object', lambda info: isinstance(info.scores, Mapping)),
    (
        'unknown',
        'an object of scores from 0 to 1 by class, in a file whose last class is unknown',
        lambda info: (
            isinstance(info.unknown, Mapping)
            and all(_is_number(value, 0, 1) for value in info.unknown.values())
            and (not info.unknown or info.labels.names[-1] == UNKNOWN)
            and set(info.unknown) <= set(info.network_labels.names)
        ),
    ),
    (
        'calibration',
        f'an object of {" and ".join(CALIBRATED)} with temperatures from '
        '{:g} to {:g} and shifts from {:g} to {:g}'.format(*TEMPERATURES, *SHIFTS),
        lambda info: (
            isinstance(info.calibration, Mapping)
            and set(info.calibration) <= set(CALIBRATED)
            and all(
                isinstance(value, Scaling)
                and _is_number(value.temperature, *TEMPERATURES)
                and _is_number(value.shift, *SHIFTS)
                for value in info.calibration.values()
            )
        ),
    ),
    (
        'batch',
        f'a whole number from 1 to {MAX_BATCH}',
        lambda info: _is_integer(info.batch, 1, MAX_BATCH),
    ),
    ('precision', f'one of {", ".join(PRECISIONS)}', lambda info: info.precision in PRECISIONS),
)
"""Attribute, expected value in words, and check; later checks rely on earlier ones."""


def _is_integer(value: Any, least: int = 0, most: float = MAX_NUMBER) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _is_number(value: Any, least: float = -MAX_NUMBER, most: float = MAX_NUMBER) -> bool:
    """Return whether a value is a number in a range; NaN and booleans are not."""
    return (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and (least <= value <= most)
    )


def _require(holds: bool, rule: str, value: Any) -> None:
    if not holds:
        raise ValueError(f'{rule}, got {repr(value)[:100]}')


def _require_number(name: str, value: Any) -> None:
    _require(_is_number(value), f'{name} must be a number', value)


def _require_text(name: str, value: Any) -> None:
    _require(
        isinstance(value, str) and len(value) <= MAX_TEXT_CHARS and value.isprintable(),
        f'{name} must be a line of at most {MAX_TEXT_CHARS} characters',
        value,
    )
