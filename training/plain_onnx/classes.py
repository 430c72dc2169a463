# SPDX-License-Identifier: Apache-2.0
"""Classes of networks that come as ONNX files, and of two of them together."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from panoptic_ros.core.class_file import read_class_file
from panoptic_ros.core.labels import LabelSet
from panoptic_ros.core.palette import distinct_color
from panoptic_ros.core.text import short
from panoptic_training.huggingface.classes import label_set_of_names

from .source import Network, entry

logger = logging.getLogger(__name__)


class Classes(NamedTuple):
    """Classes of a network."""

    labels: LabelSet

    class_of_channel: tuple[int, ...]
    """Index of the label of each of the network's channels; -1 for a channel without one."""


def read_classes(
    network: Network, channels: int | None, classes: Path | None, things: Sequence[str] | None
) -> Classes:
    """Return the classes of a network, from a class file or the metadata of its own file.

    Args:
        network: read from its file.
        channels: C of its outputs; None if they do not tell.
        classes: a class file, whose ids are the numbers of channels; those that are missing there
            have no class.
        things: names of the things; None takes all of the metadata's classes.

    Raises:
        FileNotFoundError: if there is no such class file.
        ValueError: if neither names the classes, or there are more than the network has channels.
    """
    path = network.path
    if classes is not None:
        labels = read_class_file(classes).labels
        largest = max(label.category_id for label in labels.labels)
        count = largest + 1 if channels is None else channels
        if largest >= count:
            raise ValueError(
                f'{classes} has a class with id {largest}, and {path} has {count} classes with '
                f'ids 0 to {count - 1}'
            )
        own = {label.category_id: i for i, label in enumerate(labels.labels)}
        return Classes(labels, tuple(own.get(i, -1) for i in range(count)))
    names = read_names(network)
    if names is None:
        raise ValueError(
            f'{path} does not name its {"" if channels is None else f"{channels} "}classes; give '
            'a class file with --classes FILE: classes: [{id: 0, name: road, kind: stuff}, ...]'
        )
    if channels not in (None, len(names)):
        raise ValueError(
            f'the metadata of {path} names {len(names)} classes, and its outputs have {channels}; '
            'give the right ones with --classes FILE'
        )
    try:
        labels = label_set_of_names(names, names if things is None else things)
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from None
    return Classes(labels, tuple(range(len(names))))


def read_names(network: Network) -> list[str] | None:
    """Return `names` of the file's metadata by class id; None if there are none.

    Raises:
        ValueError: if it is neither a list of names nor a mapping of the ids 0, 1, ... to names.
    """
    value = entry(network.path, network.metadata, 'names')
    if value is None:
        return None
    if isinstance(value, dict) and sorted(value, key=str) == sorted(range(len(value)), key=str):
        value = [value[i] for i in range(len(value))]
    if (
        not isinstance(value, list)
        or not value
        or not all(isinstance(name, str) and name.strip() and name.isprintable() for name in value)
    ):
        raise ValueError(
            f'{network.path}: metadata names must map 0, 1, ... to names of classes, got '
            f'{short(value)}; give them with --classes FILE'
        )
    return [str(name) for name in value]


def require_things(found: Classes, network: Network) -> None:
    """Refuse stuff among the classes of a network that finds instances.

    Raises:
        ValueError: names the first stuff.
    """
    for label in found.labels.labels:
        if not label.is_thing:
            raise ValueError(
                f'{network.path} finds instances, and {label.name!r} is stuff in its class file; '
                'make it a thing, or leave it out to ignore its instances'
            )


def warn_of_components(found: Classes, network: Network) -> None:
    """Warn that the things of a network without instances are connected components."""
    things = [label.name for label in found.labels.labels if label.is_thing]
    if things:
        logger.warning(
            '%s classifies cells and separates no instances: its things (%s) become the connected '
            'components of their class, so things of one class that touch are one instance; '
            '`--from` a second network finds instances',
            network.path,
            ', '.join(things),
        )


def join(instances: Classes, semantic: Classes) -> tuple[LabelSet, Classes, Classes]:
    """Return the classes of two networks together, and those of each with ids among them.

    The semantic network's classes come first. Classes of the same name are one, a thing.

    Args:
        instances: classes of the network that finds instances, all things.
        semantic: classes of the other network. Cells of its things are void where there is no
            instance.
    """
    found = {label.name.casefold() for label in instances.labels.labels}
    labels = [
        replace(label, is_thing=label.is_thing or label.name.casefold() in found)
        for label in semantic.labels.labels
    ]
    lost = [
        label.name for label in labels if label.is_thing and label.name.casefold() not in found
    ]
    if lost:
        logger.warning(
            'the network of instances does not know %s: their cells become void', ', '.join(lost)
        )
    place = {label.name.casefold(): i for i, label in enumerate(labels)}
    number = max(label.category_id for label in labels) + 1
    class_of = []
    for label in instances.labels.labels:
        name = label.name.casefold()
        if name not in place:
            place[name] = len(labels)
            labels.append(replace(label, category_id=number, color=distinct_color(len(labels))))
            number += 1
        class_of.append(place[name])
    joined = LabelSet(tuple(labels))
    channels = tuple(class_of[i] if i >= 0 else -1 for i in instances.class_of_channel)
    return joined, Classes(joined, channels), Classes(joined, semantic.class_of_channel)
