# SPDX-License-Identifier: Apache-2.0
"""Checkpoints as modules, ready for the export."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from panoptic_ros.core.json_values import flag
from panoptic_ros.models.huggingface.config import ARCHITECTURES
from panoptic_ros.models.huggingface.network import HuggingFace
from panoptic_ros.models.registry import build

from .classes import class_names, label_set_of_names, labels_in_order, things_of
from .loading import load_with_library, reason
from .processor import image_processor, input_size, normalization, with_defaults

LOGGER = logging.getLogger(__name__)

TASK = ARCHITECTURES['oneformer'].prompt


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
                things = things_of(source, processor, list(named.values()))
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
        raise ValueError(f'the tokenizer of {source} cannot be loaded: {reason(error)}') from None
    return tuple(
        int(token) * int(mask)
        for token, mask in zip(tokens['input_ids'], tokens['attention_mask'], strict=True)
    )
