# SPDX-License-Identifier: Apache-2.0
"""Networks with the meaning of their outputs, by the format that the user names."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.text import did_you_mean

from .classes import Classes, read_classes, require_things
from .formats import FORMATS, Format, Match, is_distribution
from .source import InputSettings, Network, read_network


@dataclass(frozen=True)
class Source:
    """ONNX file to wrap, and what it is."""

    path: Path

    format: str
    """A key of FORMATS."""

    classes: Path | None = None
    """Class file whose ids are the numbers of the network's channels."""

    things: tuple[str, ...] = ()
    """Names of the things, for networks of queries whose metadata names the classes."""

    input: InputSettings = field(default_factory=InputSettings)


@dataclass(frozen=True)
class Part:
    """Network with the meaning of its outputs."""

    network: Network
    format: Format
    match: Match
    classes: Classes

    samples: Sequence[npt.NDArray[Any]]
    """The outputs that decoding needs, in its order, for a chart of colours."""

    settings: InputSettings
    """Input, with a scale, mean and std."""


def read_part(source: Source) -> Part:
    """Read a network and check that its outputs are those of its format; see `wrap`."""
    path, form = source.path, FORMATS.get(source.format)
    if form is None:
        raise ValueError(
            f'unknown format {source.format!r}{did_you_mean(source.format, FORMATS)}; the formats '
            f'are: {", ".join(FORMATS)}'
        )
    if form.kind == 'instances' and source.things:
        raise ValueError(
            f'all classes of {path} are things, as it finds instances; leave out --things'
        )
    network = read_network(path, source.input.size)
    settings = _with_defaults(source.input, form, network)
    samples = network.run(network.sample(settings))
    found = network.outputs(samples)
    match = form.match(found, network.input_size)
    if match is None:
        others = [name for name, other in FORMATS.items() if _has_layout(network, samples, other)]
        hint = f'; it may be of --format {" or ".join(others)}' if others else ''
        raise ValueError(
            f'{path} is not of the format {source.format}: expected {form.expects}, found '
            f'{", ".join(map(str, found))}{hint}'
        )
    used = [samples[i] for i in match.outputs]
    for i, values in zip(match.outputs, used, strict=True):
        if values.dtype.kind == 'f' and not np.isfinite(values).all():
            raise ValueError(f'{path}: output {found[i]} has NaN or infinity for an image')
    if problem := form.check(match, used):
        raise ValueError(f'{path} is not of the format {source.format}: {problem}')
    if match.layout == 'logits' and is_distribution(used[0], 3 if match.channels_last else 1):
        match = match._replace(layout='probabilities')
    things = None if form.kind == 'instances' else source.things
    classes = read_classes(network, match.channels, source.classes, things)
    if form.kind == 'instances':
        require_things(classes, network)
    return Part(network, form, match, classes, used, settings)


def _has_layout(network: Network, samples: Sequence[npt.NDArray[Any]], form: Format) -> bool:
    """Return whether outputs can be those of a format."""
    match = form.match(network.outputs(samples), network.input_size)
    return match is not None and not form.check(match, [samples[i] for i in match.outputs])


def _with_defaults(own: InputSettings, form: Format, network: Network) -> InputSettings:
    """Return an input's settings with the format's defaults for what is not set.

    A network that takes bytes normalises them itself. A scale of one's own goes with a mean and
    deviation of one's own, which are 0 and 1 by default.
    """
    plain = own.scale is not None or network.takes_bytes
    settings = replace(
        own,
        scale=own.scale or (1.0 if plain else 1 / 255),
        mean=own.mean or ((0.0, 0.0, 0.0) if plain else form.mean),
        std=own.std or ((1.0, 1.0, 1.0) if plain else form.std),
    )
    assert settings.scale and settings.mean
    if max(settings.mean) > 255 * settings.scale:
        raise ValueError(
            f'--mean must be colours of an input from 0 to {255 * settings.scale:g}, got '
            f'{max(settings.mean):g}; --scale says how bright white is, 1 for pixels up to 255'
        )
    if network.takes_bytes and own.normalizes:
        raise ValueError(
            f'{network.path} takes bytes, which it normalises itself; leave out --scale, --mean '
            'and --std'
        )
    return settings
