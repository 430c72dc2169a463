# SPDX-License-Identifier: Apache-2.0
"""Flags of `panoptic export` for models of other tools: `--from` and what belongs to it."""

import argparse
from pathlib import Path
from typing import Any

from panoptic_ros.cli.arguments import number
from panoptic_ros.core.inputs import CHECKPOINT

ONNX = 'onnx:'

ONNX_ONLY = ('format', 'order', 'scale', 'mean', 'std')
"""Flags that go with `--from onnx:`."""


class OfSource(argparse.Action):
    """Flag that belongs to the `--from` before it; before the first `--from`, to the first.

    The values are in `sources`, a list with one dictionary per `--from`.
    """

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Note a flag."""
        sources = [dict(source) for source in getattr(namespace, 'sources', None) or [{}]]
        if self.dest == 'source' and 'source' in sources[-1]:
            sources.append({})
        if self.dest in sources[-1]:
            raise argparse.ArgumentError(
                self, 'is given twice for one --from; each network has its flags after its --from'
            )
        sources[-1][self.dest] = values
        namespace.sources = sources


def add_from(group: Any) -> None:
    """Add `--from` to a group of sources."""
    group.add_argument(
        '--from',
        dest='source',
        action=OfSource,
        default=argparse.SUPPRESS,
        metavar='PLACE',
        help='hf:PLACE, a checkpoint of transformers for panoptic, instance or semantic '
        'segmentation in a folder or a repository of the hub; or onnx:FILE, a network of another '
        'tool with --format. Two networks, one of instances and one semantic, become one model: '
        'give --from twice, each followed by its own flags',
    )


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that belong to a `--from`."""

    def add(flag: str, **settings: Any) -> None:
        parser.add_argument(flag, action=OfSource, default=argparse.SUPPRESS, **settings)

    parser.set_defaults(sources=[])
    add(
        '--things',
        nargs='+',
        metavar='NAME',
        help='with --from: the classes that are things, if the checkpoint does not say',
    )
    add(
        '--classes',
        type=Path,
        metavar='FILE',
        help='with --from: a class file with names and kinds in place of the '
        "checkpoint's (LABEL_0, ...), and the checkpoint's class ids from 0: "
        'classes: [{id: 0, name: road, kind: stuff}, ...]; an ONNX network ignores classes that '
        'are left out',
    )
    add(
        '--format',
        metavar='FORMAT',
        help='with --from onnx: layout of the outputs: yolo-seg, yolov5-seg, yolo-seg-end2end, '
        'rf-detr-seg, semantic or queries',
    )
    add(
        '--order',
        choices=('rgb', 'bgr'),
        help="with --from onnx: order of the input's channels (default: rgb)",
    )
    add(
        '--scale',
        type=number(above=0),
        metavar='X',
        help='with --from onnx: the input is (pixel * scale - mean) / std of pixels from 0 to 255 '
        '(default: 1/255, and the mean and std that are usual for the format)',
    )
    for flag, kind in (('--mean', number(least=0)), ('--std', number(above=0))):
        add(
            flag, type=kind, nargs=3, metavar=('R', 'G', 'B'), help='with --from onnx: see --scale'
        )


def check_sources(sources: list[dict[str, Any]]) -> None:
    """Refuse flags that do not go together.

    Raises:
        ValueError: says what goes with what.
    """
    for given in sources:
        place = given.get('source')
        if place is None:
            names = sorted(f'--{name}' for name in given)
            what = '--things and --classes go' if given.keys() <= {'things', 'classes'} else ''
            raise ValueError(f'{what or names[0] + " goes"} with --from')
        if 'things' in given and 'classes' in given:
            raise ValueError('--classes says which classes are things; leave out --things')
        prefix = next((p for p in (CHECKPOINT, ONNX) if place.startswith(p) and place != p), None)
        if prefix is None:
            raise ValueError(f'--from takes hf:<folder or repository> or onnx:<file>, got {place}')
        if prefix == ONNX and 'format' not in given:
            raise ValueError(f'--from {place} needs --format, the layout of its outputs')
        if prefix == CHECKPOINT and (wrong := [name for name in ONNX_ONLY if name in given]):
            raise ValueError(f'--{wrong[0]} goes with --from onnx:FILE, got --from {place}')
        if prefix == CHECKPOINT and len(sources) > 1:
            raise ValueError('several --from are for networks in ONNX files, got ' + place)


def wrap_networks(
    sources: list[dict[str, Any]],
    output: Path,
    size: tuple[int, int] | None,
    settings: dict[str, Any],
) -> Any:
    """Write a model file from ONNX files, and return its metadata; see `plain_onnx.wrap`."""
    from panoptic_training.plain_onnx.part import Source
    from panoptic_training.plain_onnx.source import InputSettings
    from panoptic_training.plain_onnx.wrap import wrap

    def source(given: dict[str, Any]) -> Source:
        numbers = {name: tuple(given[name]) if name in given else None for name in ('mean', 'std')}
        return Source(
            Path(given['source'].removeprefix(ONNX)),
            given['format'],
            given.get('classes'),
            tuple(given.get('things', ())),
            InputSettings(size, given.get('order', 'rgb'), given.get('scale'), **numbers),
        )

    return wrap([source(given) for given in sources], output, **settings)
