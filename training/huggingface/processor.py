# SPDX-License-Identifier: Apache-2.0
"""Image processors of checkpoints: how pixels become the input of the network."""

import math
from collections.abc import Mapping
from operator import attrgetter
from pathlib import Path
from typing import Any

from panoptic_ros.core.documents import read_json
from panoptic_ros.core.json_values import flag, number
from panoptic_ros.core.text import short
from panoptic_ros.models.config import IMAGENET_MEAN, IMAGENET_STD
from panoptic_ros.models.huggingface.config import ARCHITECTURES
from panoptic_ros.models.huggingface.network import height_width

PIXEL_SETTINGS = (
    'do_rescale',
    'rescale_factor',
    'do_normalize',
    'image_mean',
    'image_std',
    'do_flip_channel_order',
)
"""Settings of image processors that say how pixels become the network's input."""


def image_processor(source: str) -> dict[str, Any]:
    """Return the settings of the checkpoint's image processor; empty if there are none.

    An image processor has its own file, and so has one of videos. A processor of images and text
    that version 5 of the library wrote holds it in the file of that processor.
    """
    for file in ('preprocessor_config.json', 'video_preprocessor_config.json'):
        if own := read_settings(source, file):
            return own
    both = read_settings(source, 'processor_config.json')
    inside = both.get('image_processor') or both.get('video_processor')
    return inside if isinstance(inside, dict) else {}


def read_settings(source: str, name: str) -> dict[str, Any]:
    """Read a JSON file of the checkpoint; return an empty mapping if there is none."""
    from transformers.utils.hub import cached_file

    path = cached_file(source, name, _raise_exceptions_for_missing_entries=False)
    if path is None:
        return {}
    value = read_json(Path(path))
    if not isinstance(value, dict):
        raise ValueError(f'{path} must hold a JSON object, got {short(value)}')
    return value


def with_defaults(model_type: str, processor: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of an image processor, with its class's defaults for missing ones.

    Args:
        model_type: of the checkpoint.
        processor: the settings in its files.
    """
    import transformers
    from transformers.models.auto import image_processing_auto as auto

    names = auto.IMAGE_PROCESSOR_MAPPING_NAMES.get(model_type, {})  # type: ignore[attr-defined]
    kind = getattr(transformers, names.get('torchvision', ''), None)
    given = {key: value for key, value in processor.items() if value is not None}
    # A step that the class does not set is not done.
    return {
        key: getattr(kind, key) or False for key in PIXEL_SETTINGS if hasattr(kind, key)
    } | given


def normalization(source: str, processor: Mapping[str, Any]) -> dict[str, tuple[float, ...]]:
    """Return mean and deviation with which the module normalises images as the processor does.

    The processor multiplies pixels by a factor, then subtracts a mean and divides by a deviation;
    each step can be switched off. The module expects mean and deviation on a scale of 0 to 1.

    Returns:
        `mean` and `std`, (R, G, B) each; ImageNet's if the processor does not set them.

    Raises:
        ValueError: for a setting of another type.
    """

    def numbers(key: str, default: tuple[float, ...]) -> list[float]:
        value = processor.get(key)
        values = default if value is None else value if isinstance(value, list) else [value] * 3
        if len(values) != 3 or not all(map(_is_number, values)):
            raise ValueError(
                f'{source}: {key} of the image processor must be one number or '
                f'three, got {short(value)}'
            )
        return [float(v) for v in values]

    factor = processor.get('rescale_factor')
    factor = 1 / 255 if factor is None else factor
    mean, std = numbers('image_mean', IMAGENET_MEAN), numbers('image_std', IMAGENET_STD)
    if not flag(processor, 'do_normalize', True):
        mean, std = [0.0] * 3, [1.0] * 3
    if not flag(processor, 'do_rescale', True):
        factor = 1
    if not _is_number(factor) or factor <= 0 or min(std) <= 0:
        raise ValueError(
            f'{source}: rescale_factor and image_std of the image processor must be '
            f'over 0, got {short(factor)} and {std}'
        )
    scale = 255 * factor
    return {'mean': tuple(m / scale for m in mean), 'std': tuple(s / scale for s in std)}


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def input_size(source: str, settings: Any, processor: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return the (height, width) to which the processor scales; None if it keeps the shape.

    Args:
        source: the checkpoint, for messages.
        settings: its configuration.
        processor: the settings of its image processor.

    Raises:
        ValueError: for a size that is not two whole numbers.
    """
    if name := ARCHITECTURES[settings.model_type].own_size:
        return height_width(attrgetter(name)(settings))
    size = processor.get('size')
    if not isinstance(size, dict) or not {'height', 'width'} <= set(size):
        return None
    try:
        return number(size, 'height', 1), number(size, 'width', 1)
    except ValueError as error:
        raise ValueError(f'{source}: size of the image processor: {error}') from None
