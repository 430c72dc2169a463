# SPDX-License-Identifier: Apache-2.0
"""`panoptic list`: available models, families, recipes, studies and backends."""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from panoptic_ros.cli.model_source import MODEL_HELP, model_argument, model_path
from panoptic_ros.cli.output import table_console
from panoptic_ros.core.text import counted


def add_parser(subparsers: Any) -> None:
    """Add the command to `panoptic`."""
    parser = subparsers.add_parser(
        'list',
        help="list models, families, recipes, studies, backends, or a model file's content",
        description="Lists the package's models, model families, training recipes, ablation "
        'studies and inference backends (all of them without an argument), or what a model file '
        'says about itself (model), or its classes.',
        epilog='examples:\n'
        '  panoptic list recipes\n'
        '  panoptic list model city.onnx\n'
        '  panoptic list classes city.onnx --yaml > classes.yaml',
    )
    parser.add_argument(
        'topic',
        nargs='?',
        choices=[*_TABLES, *_OF_A_MODEL],
        help='what to list (default: all but model and classes)',
    )
    parser.add_argument(
        'model',
        nargs='?',
        type=model_argument,
        metavar='MODEL',
        help=f"for model and classes: {MODEL_HELP} (default: the package's own)",
    )
    parser.add_argument(
        '--yaml',
        action='store_true',
        help='for classes: print them as a class file, as score-video --labels, replay --gt, '
        'export --classes and data sets of your own read it',
    )
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> None:
    """Print the tables.

    Raises:
        ValueError: if the model file is missing, damaged or not expected.
        FileNotFoundError: if the package has no model file and none is given.
    """
    console = table_console()
    if args.model and args.topic not in _OF_A_MODEL:
        raise ValueError(
            f'a model file goes with `panoptic list model` or `classes`, not {args.topic}'
        )
    if args.yaml and args.topic != 'classes':
        raise ValueError('--yaml goes with `panoptic list classes`')
    if args.yaml:
        from panoptic_ros.core.class_file import format_class_file
        from panoptic_ros.core.model_file import read_info

        print(format_class_file(read_info(model_path(args.model)).labels), end='')
        return
    if args.topic in _OF_A_MODEL:
        for table in _OF_A_MODEL[args.topic](model_path(args.model)):
            console.print(table)
        return
    for topic in [args.topic] if args.topic else _TABLES:
        console.print(_TABLES[topic]())


def _table(title: str, *columns: str) -> Any:
    from rich import box
    from rich.table import Column, Table

    # The first column holds names that users type: it is never wrapped.
    first, *others = columns
    return Table(
        Column(first, no_wrap=True),
        *(Column(name, overflow='fold') for name in others),
        title=title,
        title_justify='left',
        box=box.SIMPLE_HEAD,
    )


def _models() -> Any:
    from panoptic_ros.core.model_file import read_info
    from panoptic_ros.core.resources import packaged_models

    table = _table(
        'Models in the package', 'file', 'name', 'family', 'input', 'classes', 'PQ (own data)'
    )
    for path in packaged_models():
        info = read_info(path)
        score = f'{info.scores["pq"]:.1f}' if 'pq' in info.scores else ''
        table.add_row(
            path.name,
            info.name,
            info.family,
            '{}x{}'.format(*info.input_size),
            str(len(info.labels)),
            score,
        )
    return table


def _families() -> Any:
    table = _table('Model families', 'family', 'description')
    try:
        from panoptic_ros.models.registry import FAMILIES
    except ImportError as error:
        table.add_row('', f'not available: {error}; pip install "panoptic_ros\\[train]"')
        return table
    for name, row in FAMILIES.items():
        table.add_row(name, (row.network.__doc__ or '').splitlines()[0])
    return table


def _recipes() -> Any:
    from panoptic_ros.cli.recipes import recipe_files
    from panoptic_ros.core.documents import read_yaml

    table = _table('Training recipes', 'recipe', 'family', 'data', 'input')
    for name, path in recipe_files().items():
        recipe = read_yaml(path)
        data = recipe['data']
        table.add_row(
            name,
            recipe['model']['family'],
            data['dataset'].partition(':')[0],
            '{}x{}'.format(*data['input_size']),
        )
    return table


def _studies() -> Any:
    from panoptic_ros.cli.recipes import study_files
    from panoptic_ros.core.documents import read_yaml

    table = _table('Ablation studies', 'study', 'title', 'source', 'recipe', 'variants')
    for name, path in study_files().items():
        study = read_yaml(path)
        table.add_row(
            name, study['title'], study['source'], study['recipe'], str(len(study['variants']))
        )
    return table


def _backends() -> Any:
    from rich.text import Text

    from panoptic_ros.runtime.installed import backend_states, plugin_states

    table = _table('Inference backends', 'backend', 'version', 'device', 'on this machine')
    for name, state in {**backend_states(), **plugin_states()}.items():
        table.add_row(name, state.version, Text(state.device), Text(state.reason or 'installed'))
    return table


def _model(path: Path) -> Iterator[Any]:
    from rich.text import Text

    from panoptic_ros.core.card import CARD_FIELDS
    from panoptic_ros.core.model_file import (
        file_hash,
        info_from_onnx,
        load_onnx,
        reference_from_onnx,
    )

    model = load_onnx(path)
    info = info_from_onnx(model, path)
    reference = reference_from_onnx(model, info, path)
    rows = {
        'file': f'{path}, {path.stat().st_size / 1e6:.1f} MB, SHA-256 {file_hash(path)}...',
        'family': info.family,
        'input': '{}x{} px'.format(*info.input_size),
        'batch': counted(info.batch, 'image') + ' at once',
        'stride': f'{info.stride} px per cell',
        'precision': info.precision,
        'embedding': f'{info.embedding_dim} numbers, {info.embedding_kind}'
        if info.embedding_dim
        else 'none',
        'classes': f'{len(info.labels)}: {", ".join(info.labels.names)}',
        'calibration': ', '.join(
            f'{name} with temperature {scaling.temperature:.3f} and shift {scaling.shift:+.2f}'
            for name, scaling in info.calibration.items()
        )
        or 'none',
        'unknown': ', '.join(f'{name} below {least:.3g}' for name, least in info.unknown.items())
        or 'no class is withheld',
        'scores': ', '.join(f'{name} {value:.1f}' for name, value in info.scores.items()),
        'recipe': info.recipe_hash,
        'written by': f'panoptic_ros {info.package_version}' if info.package_version else '',
        'reference': f'answer of {reference.engine} for a test image' if reference else 'none',
        **{title: info.card.get(name, '') for name, title in CARD_FIELDS.items()},
    }
    table = _table(f'Model {info.name}', 'entry', 'value')
    for name, value in rows.items():
        table.add_row(name, Text(value or 'not stated'))
    yield table
    table = _table('Thresholds', 'name', 'default', 'range', 'meaning')
    for name, threshold in info.thresholds.items():
        table.add_row(
            name,
            f'{threshold.default:.6g}',
            f'{threshold.minimum:.10g} to {threshold.maximum:.10g}',
            Text(threshold.description),
        )
    yield table


def _classes(path: Path) -> Iterator[Any]:
    from rich.text import Text

    from panoptic_ros.core.model_file import read_info

    info = read_info(path)
    table = _table(f'Classes of {info.name}', 'id', 'name', 'kind', 'color')
    for i, label in enumerate(info.labels.labels):
        color = '#{:02x}{:02x}{:02x}'.format(*info.labels.colors[i])
        table.add_row(
            str(i),
            label.name,
            'thing' if label.is_thing else 'stuff',
            Text.assemble(('  ', f'on {color}'), f' {color}'),
        )
    yield table


_TABLES = {
    'models': _models,
    'families': _families,
    'recipes': _recipes,
    'studies': _studies,
    'backends': _backends,
}
"""Table by topic."""

_OF_A_MODEL: dict[str, Callable[[Path], Iterator[Any]]] = {'model': _model, 'classes': _classes}
"""Tables of a model file by topic."""
