# SPDX-License-Identifier: Apache-2.0
"""Readers of JSON and YAML files of unknown origin, with limits.

A small file can expand to a huge document (YAML aliases) or exhaust the stack (deep nesting). The
readers refuse such a file with a message of one line.
"""

import json
from pathlib import Path
from typing import Any

import yaml

from panoptic_ros.core.inputs import kind_of, require_file
from panoptic_ros.core.text import one_line, short

MAX_YAML_BYTES = 4 << 20
"""Maximum size of a YAML file; parameters, recipes, class tables and metadata are far smaller."""

MAX_JSON_BYTES = 2 << 30
"""Maximum size of a JSON file; the annotations of COCO's training images have 0.5 GB."""

MAX_DEPTH = 60
"""Maximum nesting of lists and mappings."""

MAX_NODES = 1_000_000
"""Maximum number of values in a YAML document; a value counts again for each alias of it."""

_MERGE = 'tag:yaml.org,2002:merge'
"""Tag of the key `<<`, which may occur again."""


class DocumentError(ValueError):
    """A file that is not a valid document; the message starts with its path."""


def read_json(path: Path, max_bytes: int = MAX_JSON_BYTES) -> Any:
    """Read a JSON file.

    Args:
        path: of the file, in UTF-8 with or without a byte order mark.
        max_bytes: maximum size of the file.

    Raises:
        FileNotFoundError: if the file does not exist.
        IsADirectoryError: for a folder.
        DocumentError: if the file is empty, too large, nested too deeply or not JSON.
    """
    return parse_json(_read_text(path, max_bytes, 'a JSON file'), str(path))


def parse_json(text: str, source: str) -> Any:
    """Parse a JSON text.

    Args:
        text: the document.
        source: name of the text in error messages.

    Raises:
        DocumentError: if the text is nested too deeply or not JSON.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise DocumentError(f'{source}: lists or objects are nested too deeply') from None
    except ValueError as error:
        raise DocumentError(f'{source} is not JSON: {one_line(error)}') from None


def read_yaml(path: Path, max_bytes: int = MAX_YAML_BYTES) -> Any:
    """Read a YAML file with one document of plain values.

    Args:
        path: of the file, in UTF-8 with or without a byte order mark.
        max_bytes: maximum size of the file.

    Raises:
        FileNotFoundError: if the file does not exist.
        IsADirectoryError: for a folder.
        DocumentError: if the file is empty or has comments only, is too large, nested too deeply,
            expands too much by aliases, refers to itself, has a key twice or is not YAML.
    """
    content = parse_yaml(_read_text(path, max_bytes, 'a YAML file'), str(path))
    if content is None:
        raise DocumentError(f'{path} holds no values')
    return content


def parse_yaml(text: str, source: str) -> Any:
    """Parse a YAML text; see `parse_json` and `read_yaml`."""
    try:
        return yaml.load(text, _Loader)  # a SafeLoader with limits
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        problem = getattr(error, 'problem', None) or str(error)
        mark = getattr(error, 'problem_mark', None)
        place = f' (line {mark.line + 1})' if mark else ''
        raise DocumentError(
            f'{source} is not YAML that can be used: {one_line(problem)}{place}'
        ) from None


class _Loader(yaml.SafeLoader):
    """PyYAML's SafeLoader, which creates plain values only, with limits."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self._depth = 0
        self._sizes: dict[int, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose a node and count the values in it."""
        if self.check_event(yaml.AliasEvent):
            node = super().compose_node(parent, index)
            if id(node) not in self._sizes:
                raise ValueError('a value refers to itself')
            return node
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ValueError(f'values are nested more than {MAX_DEPTH} deep')
        node = super().compose_node(parent, index)
        self._depth -= 1
        children: list[yaml.Node] = []
        if isinstance(node, yaml.MappingNode):
            children = [part for pair in node.value for part in pair]
            _require_unique_keys(node)
        elif isinstance(node, yaml.SequenceNode):
            children = node.value
        self._sizes[id(node)] = 1 + sum(self._sizes[id(child)] for child in children)
        if self._sizes[id(node)] > MAX_NODES:
            raise ValueError(f'it holds more than {MAX_NODES} values, aliases included')
        return node


def _require_unique_keys(node: yaml.MappingNode) -> None:
    """Refuse a mapping with two values for a key, of which PyYAML would ignore the first."""
    known = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode) and key.tag != _MERGE:
            if (key.tag, key.value) in known:
                problem = f'the key {short(key.value)} occurs twice'
                raise yaml.composer.ComposerError(None, None, problem, key.start_mark)
            known.add((key.tag, key.value))


def _read_text(path: Path, max_bytes: int, kind: str) -> str:
    """Read a text file in UTF-8; skip its byte order mark."""
    path = Path(path)
    try:
        require_file(path, kind)
    except ValueError as error:  # an empty file
        raise DocumentError(str(error)) from None
    with path.open('rb') as file:
        data = file.read(max_bytes + 1)
    if other := kind_of(data):
        raise DocumentError(f'{path} is {other}, expected {kind}')
    if len(data) > max_bytes:
        raise DocumentError(f'{path} is larger than {max_bytes} bytes, the limit for such a file')
    try:
        return data.decode('utf-8-sig')
    except UnicodeDecodeError as error:
        raise DocumentError(
            f'{path} is not text in UTF-8: byte {error.start} is {data[error.start]:#04x}'
        ) from None
