# SPDX-License-Identifier: Apache-2.0
"""Message types of rosbags: their definitions, and construction of messages."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np


class BagTypes:
    """Construction of messages that rosbags can write; see `node.messages.MessageTypes`."""

    def __init__(self) -> None:
        """Load ROS's own types, and vision_msgs if it is installed."""
        self.vision = bool(message_files('vision_msgs'))
        self.store = typestore(['vision_msgs/msg/LabelInfo'] if self.vision else [])

    def make(self, kind: str, **fields: Any) -> Any:
        """Return a message; fields that are not given have their default."""
        return self.store.types[kind](
            **{
                name: fields[name] if name in fields else self._default(description)
                for name, description in self.store.fielddefs[kind][1]
            }
        )

    def time(self, time_ns: int) -> Any:
        """Return a time message, limited to what 32 bits of seconds hold."""
        second, nanosecond = divmod(min(max(time_ns, -(2**31) * 10**9), 2**31 * 10**9 - 1), 10**9)
        return self.make('builtin_interfaces/msg/Time', sec=second, nanosec=nanosecond)

    def byte(self, value: int) -> Any:
        """Return the value of a field of type byte."""
        return int(value)

    def buffer(self, size: int) -> Any:
        """Return so many zero bytes, the value of a field of type uint8[]."""
        return np.zeros(size, np.uint8)

    def _default(self, description: Any) -> Any:
        from rosbags.interfaces import Nodetype

        node, detail = description
        if node == Nodetype.NAME:
            return self.make(detail)
        if node == Nodetype.BASE:
            return _zero(detail[0])
        inner, count = detail
        if inner[0] == Nodetype.BASE and inner[1][0] != 'string':
            return np.zeros(count if node == Nodetype.ARRAY else 0, _dtype(inner[1][0]))
        return [self._default(inner) for _ in range(count if node == Nodetype.ARRAY else 0)]


def _zero(name: str) -> Any:
    return '' if name == 'string' else _dtype(name)(0).item()


def _dtype(name: str) -> Any:
    return {'bool': np.bool_, 'byte': np.uint8, 'char': np.uint8, 'octet': np.uint8}.get(
        name
    ) or getattr(np, name)


def typestore(kinds: Iterable[str]) -> Any:
    """Return ROS's own message types, and those of the other packages that `kinds` names.

    Args:
        kinds: message types, `vision_msgs/msg/LabelInfo`.

    Raises:
        ValueError: if the definitions of a package are not installed.
    """
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    store = get_typestore(Stores.ROS2_JAZZY)
    for package in sorted({kind.split('/')[0] for kind in kinds if kind not in store.fielddefs}):
        files = message_files(package)
        if not files:
            raise ValueError(
                f'{package} is installed, but its message definitions are not in any '
                'share directory of AMENT_PREFIX_PATH; source its installation'
            )
        for file in files:
            store.register(
                get_types_from_msg(file.read_text(encoding='utf-8'), f'{package}/msg/{file.stem}')
            )
    return store


def ros1_typestore() -> Any:
    """Return ROS 1's own message types, which have another header.

    The fields D, K, R and P of CameraInfo have ROS 2's names.
    """
    from rosbags.typesys import Stores, get_typestore

    store = get_typestore(Stores.ROS1_NOETIC)
    name = 'sensor_msgs/msg/CameraInfo'
    constants, fields = store.fielddefs.pop(name)
    del store.types[name]
    store.register({name: (constants, [(field.lower(), kind) for field, kind in fields])})
    return store


def message_files(package: str) -> tuple[Path, ...]:
    """Return the message definitions of an installed ROS package; empty if there are none."""
    return tuple(
        file
        for prefix in os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep)
        if prefix
        for file in sorted((Path(prefix) / 'share' / package / 'msg').glob('*.msg'))
    )
