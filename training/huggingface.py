# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of Hugging Face transformers as modules of this package."""

import json
import logging
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np

from panoptic_ros.core.class_file import read_class_file
from panoptic_ros.core.documents import read_json
from panoptic_ros.core.json_values import flag, number
from panoptic_ros.core.labels import Label, LabelSet, find_name
from panoptic_ros.core.palette import distinct_color
from panoptic_ros.core.text import one_line, short
from panoptic_ros.models.config import IMAGENET_MEAN, IMAGENET_STD
from panoptic_ros.models.huggingface.config import ARCHITECTURES
from panoptic_ros.models.huggingface.network import HuggingFace, height_width
from panoptic_ros.models.registry import build

from .data import ade20k_classes, cityscapes, coco_classes

TASK = ARCHITECTURES['oneformer'].prompt

LFS_POINTER = b'version https://git-lfs'
"""First bytes of a pointer file, which is in place of a file that Git LFS has not fetched."""

KNOWN = {
    len(labels): labels
    for labels in (cityscapes.LABELS, coco_classes.LABELS, ade20k_classes.LABELS)
}
"""Classes of Cityscapes, COCO panoptic and ADE20K, by their number."""

SAME_NAMES = 0.75
"""Part of the names that must agree, class by class, with those of a known data set.

Checkpoints of ADE20K use several names for some of its classes.
"""

COCO_IDS = {91, 250}
"""Numbers of classes of checkpoints whose classes are COCO's category ids.

RF-DETR has those of things, DETR those of COCO panoptic.
"""

NAMELESS = re.compile(r'label_\d+|n/a|')
"""Names of classes that a checkpoint does not name, in lower case."""

PIXEL_SETTINGS = (
    'do_rescale',
    'rescale_factor',
    'do_normalize',
    'image_mean',
    'image_std',
    'do_flip_channel_order',
)
"""Settings of image processors that say how pixels become the network's input."""

LOGGER = logging.getLogger(__name__)


def open_transformers(
    source: str, things: Sequence[str] = (), classes: Path | None = None
) -> tuple[HuggingFace, tuple[int, int] | None]:
    """Load a panoptic, instance or semantic checkpoint of the transformers library.

    A semantic one logs a warning that its things are connected components.

    Args:
        source: a folder written by `save_pretrained`, or a repository of the hub, which is
            downloaded. Weights are read from safetensors only, and no code of the repository is
            run.
        things: names of the classes that are things; if empty, they are taken from the checkpoint
            or from the names of COCO, Cityscapes and ADE20K. All classes of a checkpoint that
            predicts instances only are things.
        classes: a class file whose ids 0, 1, ... are the checkpoint's classes; its names and
            kinds replace those of the checkpoint.

    Returns:
        the module, and the (height, width) to which the checkpoint's processor scales; None if it
        keeps the image's aspect ratio.

    Raises:
        ValueError: for a checkpoint of another architecture, one that lacks weights, or one that
            does not say which classes are things.
        OSError: if it cannot be read.
    """
    import torch

    settings, loaded, random = load_with_library(source)
    architecture = ARCHITECTURES[settings.model_type]
    processor = image_processor(source)
    count = settings.num_labels - architecture.last_is_nothing
    extra: dict[str, Any] = {
        **normalization(source, with_defaults(settings.model_type, processor)),
        'score_threshold': architecture.score_threshold,
        'min_area': architecture.min_area,
    }
    if classes is not None:
        labels = labels_in_order(classes, count)
    else:
        named = class_names(source, settings.id2label, count)
        if len(named) < count:
            extra['class_ids'] = tuple(named)
        try:
            if not things and architecture.decoding == 'instances':
                things = list(named.values())
            if not things:
                things = _things_of(source, processor, list(named.values()))
            labels = label_set_of_names(list(named.values()), things)
        except ValueError as error:
            raise ValueError(f'{source}: {error}') from None
    extra['flip_channels'] = flag(
        with_defaults(settings.model_type, processor), 'do_flip_channel_order', False
    )
    if architecture.prompt:
        extra['task_tokens'] = _task_tokens(source, settings)
    if architecture.decoding == 'classes' and labels.is_thing.any():
        LOGGER.warning(
            'warning: %s predicts classes and no instances; things become the connected '
            'components of their class, so things of one class that touch are one instance',
            settings.model_type,
        )
    module = build('huggingface', labels, checkpoint=json.dumps(settings.to_dict()), **extra)
    assert isinstance(module, HuggingFace)
    wanted, found = module.network.state_dict(), loaded.state_dict()
    missing = sorted(name for name in wanted if name not in found or name in random)
    if missing:
        raise ValueError(
            f'{source} lacks {len(missing)} of {len(wanted)} weights, '
            f'e.g. {missing[0]!r}; its files must hold all of them'
            + (
                f', but they are of {settings.architectures[0]}, expected {architecture.network}'
                if settings.architectures and settings.architectures[0] != architecture.network
                else ''
            )
        )
    with torch.no_grad():
        module.network.load_state_dict({name: found[name] for name in wanted})
    return module.eval(), input_size(source, settings, processor)


def load_with_library(source: str) -> tuple[Any, Any, set[str]]:
    """Load a checkpoint with the library.

    Returns:
        its configuration, its module, and the names of the weights that are missing from the
        files, which the library fills with random values.

    Raises:
        ValueError: for a checkpoint of another architecture, or weights of other shapes.
        OSError: for a file that is missing or cannot be read.
    """
    import torch
    import transformers

    check_files(source)
    try:
        settings = transformers.AutoConfig.from_pretrained(source, trust_remote_code=False)
        kind = settings.model_type
        if kind not in ARCHITECTURES:
            raise ValueError(
                f'it is a {kind} checkpoint; those that work are: {", ".join(ARCHITECTURES)}'
            )
        loaded, loading = getattr(transformers, ARCHITECTURES[kind].network).from_pretrained(
            source,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    except OSError:
        raise  # a file that is missing, or no connection
    except Exception as error:  # its type depends on the fault
        raise ValueError(f'{source} cannot be loaded: {_one_line(error)}') from None
    # The criterion is used in training only.
    if wrong := sorted(w for w in loading['mismatched_keys'] if not w[0].startswith('criterion.')):
        name, stored, expected = wrong[0]
        raise ValueError(
            f'{source}: {len(wrong)} weights have other shapes than its config.json '
            f'says, e.g. {name} has {list(stored)}, expected {list(expected)}; is '
            'the number of classes right?'
        )
    return settings, loaded, set(loading['missing_keys'])


def check_files(source: str) -> None:
    """Refuse a missing or incomplete folder, and weights that are LFS pointers or truncated.

    Raises:
        ValueError, OSError: naming the file or folder.
    """
    from safetensors import SafetensorError, safe_open

    folder = Path(source)
    if folder.is_file():
        raise NotADirectoryError(
            f'hf:{source}: {source} is a file; give the folder that holds '
            'config.json and the weights'
        )
    if not folder.exists() and (source.startswith(('/', '.', '~')) or source.count('/') > 1):
        raise FileNotFoundError(
            f'hf:{source}: no folder {source}; give one, or a checkpoint of '
            'the Hugging Face Hub as OWNER/NAME'
        )
    if folder.is_dir() and not (folder / 'config.json').is_file():
        raise FileNotFoundError(
            f'hf:{source}: the folder {source} holds no config.json; give '
            'the folder of a checkpoint that save_pretrained wrote'
        )
    files = sorted(Path(source).glob('*.safetensors'))
    pickles = sorted(path.name for path in Path(source).glob('*.bin'))
    if pickles and not files:
        raise ValueError(
            f'{source} holds its weights as {pickles[0]} only, a pickle, which can '
            'run code and is not loaded; save the checkpoint as safetensors'
        )
    for path in files:
        with path.open('rb') as file:
            start = file.read(len(LFS_POINTER))
        if start == LFS_POINTER:
            raise ValueError(
                f'{path} is a Git LFS pointer instead of the weights; fetch them '
                'with `git lfs pull`'
            )
        try:
            with safe_open(path, 'pt'):
                pass
        except SafetensorError as error:
            raise ValueError(
                f'{path} is not a complete safetensors file: {_one_line(error)}'
            ) from None


def class_names(source: str, id2label: Mapping[int, Any], count: int) -> dict[int, str]:
    """Return the names by class id, in lower case; classes that have no name are left out.

    A checkpoint whose class ids are COCO's has classes that are no categories.

    Raises:
        ValueError: if an id in 0 to `count` - 1 is missing, or no class has a name.
    """
    if absent := [i for i in range(count) if i not in id2label]:
        raise ValueError(
            f'{source}: id2label has no name for class {absent[0]}; it has '
            f'{len(id2label)} names with ids {min(id2label)} to {max(id2label)}, '
            f'expected 0 to {count - 1}: give the names with --classes FILE'
        )
    names = {i: str(id2label[i] or '').lower().strip() for i in range(count)}
    named = {i: name for i, name in names.items() if not NAMELESS.fullmatch(name)}
    if count in COCO_IDS:
        coco = {x.category_id: x.name for x in coco_classes.LABELS.labels if x.category_id < count}
        if all(coco.get(i) == name for i, name in named.items() if i in coco):
            return coco
    if len(names) > len(named) > 0:
        unnamed = [i for i in names if i not in named]
        LOGGER.warning(
            'warning: %d classes have no name and become void: %s',
            len(unnamed),
            ', '.join(map(str, unnamed)),
        )
    return named or names


def labels_in_order(path: Path, count: int) -> LabelSet:
    """Return the classes of a class file whose ids are those of a checkpoint.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for an invalid file, or ids other than 0, 1, ...
    """
    labels = sorted(read_class_file(path).labels.labels, key=lambda label: label.category_id)
    ids = [label.category_id for label in labels]
    if ids != list(range(count)):
        raise ValueError(
            f"{path}: the ids must be those of the checkpoint's classes, 0 to "
            f'{count - 1}, got {len(ids)} from {ids[0]} to {ids[-1]}'
        )
    return LabelSet(tuple(labels))


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


def _one_line(error: Exception) -> str:
    return f'{type(error).__name__}: {one_line(error)}'


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def label_set_of_names(names: Sequence[str], things: Iterable[str]) -> LabelSet:
    """Return labels with distinct colours.

    Args:
        names: by class id; a repeated name gets its class id as a suffix.
        things: names of the classes that are things.

    Raises:
        ValueError: for a thing that is not among the names.
    """
    known = list(dict.fromkeys(names))
    things = {known[find_name(thing, known)] for thing in things}
    labels = []
    for i, name in enumerate(names):
        unique = name if names.index(name) == i else f'{name} {i}'
        shown = re.sub(r'\s+', ' ', unique).strip()
        labels.append(Label(shown, name in things, distinct_color(i), i))
    return LabelSet(tuple(labels))


def _things_of(source: str, processor: dict[str, Any], names: Sequence[str]) -> list[str]:
    """Return the things from the processor's settings or class file (OneFormer), or known names.

    Checkpoints of ADE20K list several names per class, separated by commas; the first is used.

    Raises:
        ValueError: if no source names the things, or it belongs to other classes.
    """
    metadata = processor.get('metadata')
    things = metadata.get('thing_ids') if isinstance(metadata, dict) else None
    if things is None:
        file = processor.get('class_info_file')
        info = _read_json(source, Path(file).name if isinstance(file, str) else 'class_info.json')
        things = (
            [
                i
                for i, value in info.items()
                if isinstance(value, dict) and flag(value, 'isthing', False)
            ]
            if info
            else None
        )
    if isinstance(things, list):
        try:
            ids = [number({'id': i}, 'id', 0, len(names) - 1) for i in things]
        except ValueError as error:
            raise ValueError(f"a thing's {error}; name the things with --things") from None
        return [names[i] for i in ids]
    if known := KNOWN.get(len(names)):
        first = [name.split(',')[0].strip() for name in names]
        of_things = {label.name for label in known.labels if label.is_thing}
        if of_things <= set(first):
            return [name for name, short in zip(names, first, strict=True) if short in of_things]
        if np.mean([a == b for a, b in zip(first, known.names, strict=True)]) >= SAME_NAMES:
            return [name for name, thing in zip(names, known.is_thing, strict=True) if thing]
    nameless = all(NAMELESS.fullmatch(name) for name in names)
    remedy = (
        ', and does not name them: give names and kinds with --classes FILE'
        if nameless
        else f'; name them with --things. The classes are: {", ".join(names)}'
    )
    raise ValueError(
        f'the checkpoint does not say which of its {len(names)} classes are things{remedy}'
    )


def image_processor(source: str) -> dict[str, Any]:
    """Return the settings of the checkpoint's image processor; empty if there are none.

    An image processor has its own file, and so has one of videos. A processor of images and text
    that version 5 of the library wrote holds it in the file of that processor.
    """
    for file in ('preprocessor_config.json', 'video_preprocessor_config.json'):
        if own := _read_json(source, file):
            return own
    both = _read_json(source, 'processor_config.json')
    inside = both.get('image_processor') or both.get('video_processor')
    return inside if isinstance(inside, dict) else {}


def _read_json(source: str, name: str) -> dict[str, Any]:
    """Read a JSON file of the checkpoint; return an empty mapping if there is none."""
    from transformers.utils.hub import cached_file

    path = cached_file(source, name, _raise_exceptions_for_missing_entries=False)
    if path is None:
        return {}
    value = read_json(Path(path))
    if not isinstance(value, dict):
        raise ValueError(f'{path} must hold a JSON object, got {short(value)}')
    return value


def _task_tokens(source: str, settings: Any) -> tuple[int, ...]:
    """Return OneFormer's task as tokens, padded to the length that the network expects.

    Like its processor, this pads with 0, whatever padding the tokenizer uses.
    """
    import transformers

    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(source, trust_remote_code=False)
        tokens = tokenizer(
            TASK, padding='max_length', max_length=settings.task_seq_len, truncation=True
        )
    except Exception as error:  # its type depends on the fault
        raise ValueError(
            f'the tokenizer of {source} cannot be loaded: {_one_line(error)}'
        ) from None
    return tuple(
        int(token) * int(mask)
        for token, mask in zip(tokens['input_ids'], tokens['attention_mask'], strict=True)
    )


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
