"""Checkpoints that people already have, as modules of this package."""

from __future__ import annotations

import colorsys
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from panoptic_ros.labels import Label, LabelSet
from panoptic_ros.models.registry import build
from panoptic_ros.models.transformers import ARCHITECTURES, TransformersPanoptic, height_width

from .data import ade20k_classes, cityscapes, coco_classes

TASK = 'the task is panoptic'

THINGS = {len(labels): frozenset(label.name for label in labels.labels if label.is_thing)
          for labels in (cityscapes.LABELS, coco_classes.LABELS, ade20k_classes.LABELS)}
"""Names of the things of Cityscapes, COCO panoptic and ADE20K, by how many classes these have."""


def open_transformers(source: str, things: Sequence[str] = (),
                      ) -> tuple[TransformersPanoptic, tuple[int, int] | None]:
    """Loads a panoptic checkpoint of the transformers library.

    Args:
        source: a folder written by `save_pretrained`, or a repository of the hub, which is
            downloaded where the machine is connected. Weights are read from safetensors only,
            and no code of the repository is run.
        things: names of the classes that are things; empty takes what the checkpoint says, or
            the names of COCO, Cityscapes and ADE20K.

    Returns:
        The module, and the (height, width) that the checkpoint's processor scales to, None where
        it keeps the image's own shape.

    Raises:
        ValueError: if it is no panoptic checkpoint, lacks weights, or does not say which classes
            are things.
        OSError: if it cannot be read.
    """
    import torch
    import transformers

    settings = transformers.AutoConfig.from_pretrained(source, trust_remote_code=False)
    if settings.model_type not in ARCHITECTURES:
        raise ValueError(f'{source} is a {settings.model_type} checkpoint; panoptic ones are: '
                         f'{", ".join(ARCHITECTURES)}')
    loaded, loading = getattr(transformers, ARCHITECTURES[settings.model_type]).from_pretrained(
        source, use_safetensors=True, trust_remote_code=False, dtype=torch.float32,
        output_loading_info=True)
    processor = _image_processor(source)
    names = [str(settings.id2label[i]).lower().strip() for i in range(settings.num_labels)]
    labels = label_set(names, things or _things_of(source, processor, names))
    extra: dict[str, Any] = {}
    if settings.model_type == 'oneformer':
        extra['task_tokens'] = _task_tokens(source, settings)
    if settings.model_type.startswith('eomt'):
        extra['score_threshold'] = 0.8
    for key, name in (('mean', 'image_mean'), ('std', 'image_std')):
        if processor.get(name):
            extra[key] = tuple(processor[name])
    module = build('transformers', labels, checkpoint=json.dumps(settings.to_dict()), **extra)
    assert isinstance(module, TransformersPanoptic)
    wanted = module.network.state_dict()
    found = loaded.state_dict()
    # What the files lack, the library fills with random values.
    missing = sorted(name for name in wanted
                     if name not in found or name in loading['missing_keys'])
    if missing:
        raise ValueError(f'{source} lacks {len(missing)} of {len(wanted)} weights, '
                         f'e.g. {missing[0]!r}; its files must hold all of them')
    with torch.no_grad():
        module.network.load_state_dict({name: found[name] for name in wanted})
    return module.eval(), _input_size(settings, processor)


def label_set(names: Sequence[str], things: Sequence[str]) -> LabelSet:
    """Labels with colours that stand apart.

    Args:
        names: by class id; a name that stands twice gets its number behind it.
        things: those that are things.

    Raises:
        ValueError: if a thing is none of the names.
    """
    unknown = sorted(set(things) - set(names))
    if unknown:
        raise ValueError(f'things: {unknown[0]!r} is none of the classes {", ".join(names)}')
    labels = []
    for i, name in enumerate(names):
        shade = colorsys.hsv_to_rgb(i * 0.618034 % 1, 0.5 + 0.5 * (i % 3) / 2, 0.9 - 0.2 * (i % 2))
        unique = name if names.index(name) == i else f'{name} {i}'
        labels.append(Label(re.sub(r'\s+', ' ', unique).strip(), name in things,
                            tuple(round(255 * c) for c in shade), i))  # type: ignore[arg-type]
    return LabelSet(tuple(labels))


def _things_of(source: str, processor: dict[str, Any], names: Sequence[str]) -> list[str]:
    """Things by the processor's settings or class file (OneFormer), else by known names.

    ADE20K's checkpoints give a class all its names with commas between; the first counts.

    Raises:
        ValueError: if nothing says it, or what says it is of other classes.
    """
    things = (processor.get('metadata') or {}).get('thing_ids')
    if things is None:
        info = _read_json(source, processor.get('class_info_file') or 'class_info.json')
        things = [i for i, value in info.items() if value.get('isthing')] if info else None
    if things is not None:
        unknown = [i for i in map(int, things) if not 0 <= i < len(names)]
        if unknown:
            raise ValueError(f'{source} says that class {unknown[0]} is a thing, but it has '
                             f'classes 0 to {len(names) - 1}; name the things with --things')
        return [names[int(i)] for i in things]
    known = THINGS.get(len(names), frozenset())
    first = [name.split(',')[0].strip() for name in names]
    if known and known <= set(first):
        return [name for name, short in zip(names, first, strict=True) if short in known]
    raise ValueError(f'{source} does not say which of its {len(names)} classes are things; '
                     f'name them with --things. The classes are: {", ".join(names)}')


def _image_processor(source: str) -> dict[str, Any]:
    """Settings of the checkpoint's image processor; empty where there are none.

    An image processor has a file of its own; a processor of images and text that version 5 of the
    library wrote has it inside its own.
    """
    own = _read_json(source, 'preprocessor_config.json')
    if own:
        return own
    inside = _read_json(source, 'processor_config.json').get('image_processor')
    return inside if isinstance(inside, dict) else {}


def _read_json(source: str, name: str) -> dict[str, Any]:
    """A JSON file of the checkpoint; empty where there is none."""
    from transformers.utils.hub import cached_file

    path = cached_file(source, name, _raise_exceptions_for_missing_entries=False)
    if path is None:
        return {}
    value = json.loads(Path(path).read_text(encoding='utf-8'))
    return value if isinstance(value, dict) else {}


def _task_tokens(source: str, settings: Any) -> tuple[int, ...]:
    """OneFormer's task as tokens, padded to the length that the network takes.

    As its processor makes them: padding is 0, whatever the tokenizer pads with.
    """
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    tokens = tokenizer(TASK, padding='max_length', max_length=settings.task_seq_len,
                       truncation=True)
    return tuple(int(token) * int(mask) for token, mask in
                 zip(tokens['input_ids'], tokens['attention_mask'], strict=True))


def _input_size(settings: Any, processor: dict[str, Any]) -> tuple[int, int] | None:
    if settings.model_type.startswith('eomt'):  # its position embeddings hold for one size
        return height_width(settings.image_size)
    size = processor.get('size') or {}
    if isinstance(size, dict) and {'height', 'width'} <= set(size):
        return int(size['height']), int(size['width'])
    return None
