# SPDX-License-Identifier: Apache-2.0
"""Parameter files and class files, against PyYAML's own reader and a walk over its nodes."""

import math
from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Any

import yaml

from fuzz import mutate
from fuzz.case import Case, Target, Wrong
from panoptic_ros.core.class_file import format_class_file, read_class_file
from panoptic_ros.core.labels import Label, LabelSet
from panoptic_ros.core.settings import Setting
from panoptic_ros.node.parameter_file import is_for, parameter_blocks, read_parameters
from panoptic_ros.node.parameters import BY_NAME, PARAMETERS, parameter_yaml

NAME = 'file.yaml'


def dump(document: Any) -> str:
    """Return YAML in one of its styles."""
    return yaml.safe_dump(document, sort_keys=False)


@lru_cache(maxsize=32)
def _load(text: str | bytes) -> Any:
    return yaml.safe_load(text)


def load(text: str | bytes) -> Any:
    """Return the values of YAML that is known to be valid; samples are read once only."""
    return deepcopy(_load(text))


def changed(rng: Random, document: Any) -> bytes:
    """Return a YAML file of changed values, of changed text, or of both."""
    kind = rng.random()
    if kind < 0.5:
        document = mutate.value(rng, document)
    try:
        text = dump(document)
    except (RecursionError, yaml.YAMLError):
        text = '{}'
    return mutate.yaml_text(rng, text) if kind > 0.4 else text.encode()


def require_unique_keys(data: bytes) -> None:
    """Raise Wrong for a key that occurs twice, of whose values one would be ignored."""
    try:
        waiting = [yaml.compose(data.decode('utf-8-sig'), yaml.SafeLoader)]
    except RecursionError:
        return
    seen = set()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            keys = [(k.tag, k.value) for k, _ in node.value if isinstance(k, yaml.ScalarNode)]
            twice = [key for key, count in Counter(keys).items() if count > 1]
            if twice:
                raise Wrong(f'duplicate: the key {twice[0][1]!r} occurs twice')
            waiting += [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value


def as_truth(value: Any) -> bool:
    """Return a truth value in one of the forms that files may have."""
    return value if isinstance(value, bool) else str(value).strip().lower() in ('1', 'true', '1.0')


# Parameter files -------------------------------------------------------------------------------


def parameter_document(rng: Random) -> dict[str, Any]:
    """Return a valid parameter file with some of the parameters."""
    if rng.random() < 0.2:
        return load(parameter_yaml())
    block: dict[str, Any] = {}
    cameras = rng.choice((['camera'], ['front', 'rear']))
    if cameras != ['camera']:
        block['cameras'] = cameras
    for setting in rng.sample(PARAMETERS, rng.randrange(1, 8)):
        if setting.name == 'cameras':
            continue
        if setting.per_camera and rng.random() < 0.3:
            setting = replace(setting, name=f'{rng.choice(cameras)}.{setting.name}')
        *groups, name = setting.name.split('.')
        inside = block
        for group in groups if rng.random() < 0.7 else ():
            inside = inside.setdefault(group, {})
        if groups and inside is block:
            name = setting.name
        inside[name] = good_value(rng, setting)
    if rng.random() < 0.2:
        block['use_sim_time'] = True
    names = ('/**', 'panoptic_node', '/panoptic_node', '/front/panoptic_node', '/*', '/other')
    return {rng.choice(names): {'ros__parameters': block}}


def good_value(rng: Random, setting: Setting) -> Any:
    default = setting.default
    if isinstance(default, tuple):
        return rng.choice(([], ['car'], ['car', 'road']))
    if isinstance(default, bool):
        return rng.random() < 0.5
    if isinstance(default, str):
        return default
    low, high = setting.closed_range
    low = default if low == setting.above else low
    number = rng.choice((default, low, high, (low + min(high, 100)) / 2))
    return int(number) if isinstance(default, int) else number


def make_parameters(rng: Random) -> Case:
    document = parameter_document(rng)
    if rng.random() < 0.2 and '/other' not in document:
        return Case({NAME: dump(document).encode()}, {'intact': True})
    return Case({NAME: changed(rng, document)})


def check_parameters(case: Case, folder: Path) -> None:
    values = read_parameters(folder / NAME)
    if list(values)[: len(PARAMETERS)] != [setting.name for setting in PARAMETERS]:
        raise Wrong(f'names: {list(values)}')
    if len(set(values['cameras'])) != len(values['cameras']) or not values['cameras']:
        raise Wrong(f'cameras: {values["cameras"]}')
    declared = dict(BY_NAME)
    for name in list(values)[len(PARAMETERS) :]:
        camera = next((one for one in values['cameras'] if name.startswith(f'{one}.')), None)
        setting = BY_NAME.get(name.removeprefix(f'{camera}.'))
        if setting is None or not setting.per_camera:
            raise Wrong(f'names: {name}')
        declared[name] = setting
    for name, value in values.items():
        if not is_allowed(declared[name], value):
            raise Wrong(f'value: {name} is {value!r}')
    require_unique_keys(case.files[NAME])
    document = load(case.files[NAME].decode('utf-8-sig'))
    given: dict[str, list[Any]] = {}
    for pattern, block in parameter_blocks(document):
        last = pattern.rpartition('/')[2]
        if last in ('panoptic_node', '*', '**'):
            for name, value in flat(block):
                given.setdefault(name, []).append(value)
        elif is_for(pattern, '/panoptic_node'):
            raise Wrong(f'pattern: {pattern} addresses the node and is not read')
    for name, value in values.items():
        stated = given.get(name, [declared[name].default])
        if not any(agree(value, other) for other in stated):
            raise Wrong(f'result: {name} is {value!r}, the file says {stated!r}')


def flat(block: Any, prefix: str = '') -> Iterator[tuple[str, Any]]:
    for name, value in block.items():
        if isinstance(value, dict):
            yield from flat(value, f'{prefix}{name}.')
        else:
            yield f'{prefix}{name}', value


def agree(value: Any, stated: Any) -> bool:
    if isinstance(value, tuple):
        return list(value) == [item for item in stated or () if item]
    return value == stated and isinstance(value, bool) == isinstance(stated, bool)


def is_allowed(setting: Setting, value: Any) -> bool:
    default = setting.default
    if type(value) is not type(default):
        return False
    if isinstance(default, tuple):
        return all(isinstance(item, str) and item for item in value)
    if isinstance(default, (bool, str)):
        return True
    return value == default or (
        math.isfinite(value)
        and setting.minimum <= value <= setting.maximum
        and value > setting.above
    )


# Class files -----------------------------------------------------------------------------------

LABELS = LabelSet(
    (
        Label('road', False, (128, 64, 128), 7),
        Label('traffic sign', False, (220, 220, 0), 8),
        Label('car', True, (0, 0, 142), 26),
        Label('Person', True, (220, 20, 60), 24),
    )
)


def class_document(rng: Random) -> Any:
    if rng.random() < 0.2:  # the form of an earlier version
        return {'labels': LABELS.to_dicts(), 'label_divisor': 1000}
    document = load(format_class_file(LABELS, rng.choice((1, 256, 1000, 10000))))
    if rng.random() < 0.5:
        document['ignore'] = rng.choice(([255], [250, 251], 255))
    if rng.random() < 0.5:
        for entry in document['classes']:
            entry['id'] += rng.choice((0, 10))
            entry.pop('color', None)
        document['classes'] = [
            entry | {'id': number * 3} for number, entry in enumerate(document['classes'])
        ]
    if rng.random() < 0.3:
        del document['divisor']
    return document


def make_classes(rng: Random) -> Case:
    document = class_document(rng)
    if rng.random() < 0.2:
        return Case({NAME: dump(document).encode()}, {'intact': True})
    return Case({NAME: changed(rng, document)})


def check_classes(case: Case, folder: Path) -> None:
    classes = read_class_file(folder / NAME)
    if len(set(classes.ids)) != len(classes.ids) or len(classes.ids) != len(classes.labels):
        raise Wrong(f'ids: {classes.ids}')
    classes.class_id_of  # noqa: B018  a table that is built when it is first used
    require_unique_keys(case.files[NAME])
    document = load(case.files[NAME].decode('utf-8-sig'))
    if not isinstance(document, dict) or 'classes' not in document:
        return
    if classes.divisor != document.get('divisor', 1000):
        raise Wrong(f'divisor: {classes.divisor}')
    for entry, label, number in zip(
        document['classes'], classes.labels.labels, classes.ids, strict=True
    ):
        stated = entry['name'], entry['kind'] == 'thing', entry['id']
        if stated != (label.name, label.is_thing, number) or isinstance(entry['id'], bool):
            raise Wrong(f'class: {label} from {entry}')
        color = entry.get('color')
        if color is not None and (list(color) != list(label.color)):
            raise Wrong(f'color: {label.color} from {color}')


TARGETS = (
    Target('parameters', make_parameters, check_parameters),
    Target('classes', make_classes, check_classes),
)
