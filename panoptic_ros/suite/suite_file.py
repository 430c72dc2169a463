# SPDX-License-Identifier: Apache-2.0
"""Suite files: which recordings to replay, with which model and parameters."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from panoptic_ros.core.documents import read_yaml
from panoptic_ros.core.json_values import each, text
from panoptic_ros.core.stores import is_url
from panoptic_ros.core.text import did_you_mean, short
from panoptic_ros.suite.places import Place, find_places

MAX_CPUS = 1024


@dataclass(frozen=True)
class Recording:
    """Recording of a suite."""

    name: str
    """Name of its folder in the results, unique in the suite."""

    path: str
    """Absolute path or URL."""

    cameras: tuple[str, ...] = ()
    """Image topics; if empty, all with camera images."""

    ground_truth: tuple[str, ...] = ()
    """Topics or folders; `camera=topic or folder` for several cameras."""

    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Suite:
    """Contents of a suite file."""

    name: str
    recordings: tuple[Recording, ...]

    model: Path | None = None
    """Model file; None is that of the parameters, or the packaged one."""

    config: Path | None = None
    """Parameter file of the node."""

    cpus: int = 1
    """CPU cores that a recording is given, which is also the number of the network's threads."""

    gpus: float = 0.0
    """Share of a GPU, or number of GPUs, that a recording is given."""

    memory_gb: float = 2.0
    """Memory that a recording is given, GB."""

    fetch_gb: float = 50.0
    """Largest size of a recording that is fetched from a URL, GB."""


def read_suite(path: Path) -> Suite:
    """Read a suite file, and find the recordings that it names.

    Paths are relative to the folder of the file. A recording that cannot be read is found out
    when it is replayed.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if a key or a value is not valid, a pattern matches nothing, or two recordings
            have one name.
    """
    document = read_yaml(path)
    if not isinstance(document, dict):
        raise ValueError(f'{path} must hold keys and values, got {short(document)}')
    folder = path.absolute().parent
    try:
        _check_keys(document, _KEYS)
        entries = each(document.get('recordings'), 'recordings', lambda e: _entry(e, folder))
        recordings = [recording for entry in entries for recording in entry]
        if not recordings:
            raise ValueError('recordings must name at least one')
        _require_unique(recordings)
        values: dict[str, Any] = {
            key: folder / Path(text(document, key)).expanduser()
            for key in ('model', 'config')
            if key in document
        }
        values |= {key: read(document, key) for key, read in _NUMBERS.items() if key in document}
        return Suite(
            text(document, 'name') if 'name' in document else path.stem,
            tuple(recordings),
            **values,
        )
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from None


def _number(above: float | None, least: float, most: float) -> Callable[[Mapping, str], float]:
    def read(document: Mapping[str, Any], key: str) -> float:
        value = document[key]
        if (
            isinstance(value, bool)
            or not isinstance(value, (int, float))
            or not least <= value <= most
            or value == above
        ):
            bound = f'of at least {least:g}' if above is None else f'over {above:g}'
            raise ValueError(
                f'{key} must be a number {bound} and at most {most:g}, got {short(value)}'
            )
        return float(value)

    return read


def _cpus(document: Mapping[str, Any], key: str) -> int:
    value = document[key]
    if type(value) is not int or not 1 <= value <= MAX_CPUS:
        raise ValueError(f'{key} must be a whole number from 1 to {MAX_CPUS}, got {short(value)}')
    return value


_NUMBERS: Mapping[str, Callable[[Mapping, str], Any]] = {
    'cpus': _cpus,
    'gpus': _number(None, 0, 64),
    'memory_gb': _number(0, 0, 1e4),
    'fetch_gb': _number(0, 0, 1e5),
}
_KEYS = ('name', 'model', 'config', 'recordings', *_NUMBERS)
_ENTRY_KEYS = ('path', 'name', 'cameras', 'ground_truth', 'tags')


def _entry(entry: Mapping[str, Any], folder: Path) -> list[Recording]:
    """Return the recordings of an entry: one, or those that its pattern matches."""
    _check_keys(entry, _ENTRY_KEYS)
    name = text(entry, 'name') if 'name' in entry else ''
    cameras, tags = _texts(entry, 'cameras'), _texts(entry, 'tags')
    if len(set(tags)) < len(tags):
        raise ValueError(f'tags must differ, got {short(list(tags))}')
    return [
        Recording(place.name, place.path, cameras, _ground_truth(entry, place, folder), tags)
        for place in find_places(text(entry, 'path'), folder, name)
    ]


def _texts(entry: Mapping[str, Any], key: str) -> tuple[str, ...]:
    values = entry.get(key, [])
    if not isinstance(values, list):
        raise ValueError(f'{key} must be a list of texts, got {short(values)}')
    return tuple(text({key: value}, key) for value in values)


def _ground_truth(entry: Mapping[str, Any], place: Place, folder: Path) -> tuple[str, ...]:
    """Return the ground truth of a recording; `{name}` stands for the recording's name."""
    given = entry.get('ground_truth')
    if given is None:
        return ()
    by_camera = given if isinstance(given, dict) else {'': given}

    def read(value: Any) -> str:
        named = text({'ground_truth': value}, 'ground_truth').replace('{name}', place.name)
        if is_url(named):
            raise ValueError(f'ground_truth must be a topic or a folder, got {short(named)}')
        return str(folder / Path(named).expanduser())  # a topic starts with / and stays

    return tuple(
        f'{camera}={read(value)}' if camera else read(value) for camera, value in by_camera.items()
    )


def _check_keys(document: Mapping[Any, Any], known: Collection[str]) -> None:
    for key in document:
        if key not in known:
            raise ValueError(
                f'unknown key {short(key)}{did_you_mean(str(key), known)} '
                f'(the keys are {", ".join(known)})'
            )


def _require_unique(recordings: list[Recording]) -> None:
    known: dict[str, Recording] = {}
    for recording in recordings:
        other = known.setdefault(recording.name, recording)
        if other is not recording:
            raise ValueError(
                f'two recordings have the name {recording.name}: {other.path} and '
                f'{recording.path}; give one of them a `name`'
            )
