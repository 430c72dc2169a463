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
from panoptic_ros.models.transformers import ARCHITECTURES, TransformersPanoptic

TASK = 'the task is panoptic'

COCO_THINGS = (
    'person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,'
    'stop sign,parking meter,bench,bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe,'
    'backpack,umbrella,handbag,tie,suitcase,frisbee,skis,snowboard,sports ball,kite,baseball bat,'
    'baseball glove,skateboard,surfboard,tennis racket,bottle,wine glass,cup,fork,knife,spoon,'
    'bowl,banana,apple,sandwich,orange,broccoli,carrot,hot dog,pizza,donut,cake,chair,couch,'
    'potted plant,bed,dining table,toilet,tv,laptop,mouse,remote,keyboard,cell phone,microwave,'
    'oven,toaster,sink,refrigerator,book,clock,vase,scissors,teddy bear,hair drier,toothbrush')
CITYSCAPES_THINGS = 'person,rider,car,truck,bus,train,motorcycle,bicycle'

THINGS = {133: frozenset(COCO_THINGS.split(',')), 19: frozenset(CITYSCAPES_THINGS.split(','))}
"""Names of the things of COCO panoptic and Cityscapes, by how many classes these have."""


def open_transformers(source: str, things: Sequence[str] = (),
                      ) -> tuple[TransformersPanoptic, tuple[int, int] | None]:
    """Loads a panoptic checkpoint of the transformers library.

    Args:
        source: a folder written by `save_pretrained`, or a repository of the hub, which is
            downloaded where the machine is connected. Weights are read from safetensors only,
            and no code of the repository is run.
        things: names of the classes that are things; empty takes what the checkpoint says, or
            the names of COCO and Cityscapes.

    Returns:
        The module, and the (height, width) that the checkpoint's processor scales to, None where
        it keeps the image's own shape.

    Raises:
        ValueError: if it is no panoptic checkpoint, or does not say which classes are things.
        OSError: if it cannot be read.
    """
    import torch
    import transformers

    settings = transformers.AutoConfig.from_pretrained(source, trust_remote_code=False)
    if settings.model_type not in ARCHITECTURES:
        raise ValueError(f'{source} is a {settings.model_type} checkpoint; panoptic ones are: '
                         f'{", ".join(ARCHITECTURES)}')
    loaded = getattr(transformers, ARCHITECTURES[settings.model_type]).from_pretrained(
        source, use_safetensors=True, trust_remote_code=False)
    processor = _read_json(source, 'preprocessor_config.json')
    names = [str(settings.id2label[i]).lower() for i in range(settings.num_labels)]
    labels = label_set(names, things or _things_of(source, processor, names))
    extra: dict[str, Any] = {}
    if settings.model_type == 'oneformer':
        extra['task_tokens'] = _task_tokens(source, settings)
    if settings.model_type.startswith('eomt'):
        extra['score_threshold'] = 0.8
    for key, name in (('mean', 'image_mean'), ('std', 'image_std')):
        if name in processor:
            extra[key] = tuple(processor[name])
    module = build('transformers', labels, checkpoint=json.dumps(settings.to_dict()), **extra)
    assert isinstance(module, TransformersPanoptic)
    wanted = module.network.state_dict()
    found = loaded.state_dict()
    missing = sorted(set(wanted) - set(found))
    if missing:
        raise ValueError(f'{source} lacks {len(missing)} of {len(wanted)} weights, '
                         f'e.g. {missing[0]!r}')
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
    """Things by the processor's class file (OneFormer), else by names of known data sets."""
    info = _read_json(source, processor.get('class_info_file') or 'class_info.json')
    if info:
        return [names[int(i)] for i, value in info.items() if value.get('isthing')]
    known = THINGS.get(len(names), frozenset())
    if known and known <= set(names):
        return [name for name in names if name in known]
    raise ValueError(f'{source} does not say which of its {len(names)} classes are things; '
                     f'name them with --things. The classes are: {", ".join(names)}')


def _read_json(source: str, name: str) -> dict[str, Any]:
    """A JSON file of the checkpoint; empty where there is none."""
    from transformers.utils.hub import cached_file

    path = cached_file(source, name, _raise_exceptions_for_missing_entries=False)
    if path is None:
        return {}
    value = json.loads(Path(path).read_text(encoding='utf-8'))
    return value if isinstance(value, dict) else {}


def _task_tokens(source: str, settings: Any) -> tuple[int, ...]:
    """OneFormer's task as tokens, padded to the length that the network takes."""
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    tokens = tokenizer(TASK, padding='max_length', max_length=settings.task_seq_len,
                       truncation=True)['input_ids']
    return tuple(int(token) for token in tokens)


def _input_size(settings: Any, processor: dict[str, Any]) -> tuple[int, int] | None:
    if settings.model_type.startswith('eomt'):  # its position embeddings hold for one size
        side = settings.image_size
        return (side, side) if isinstance(side, int) else (int(side[0]), int(side[1]))
    size = processor.get('size') or {}
    if isinstance(size, dict) and {'height', 'width'} <= set(size):
        return int(size['height']), int(size['width'])
    return None
