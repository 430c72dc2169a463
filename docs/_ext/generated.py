# SPDX-License-Identifier: Apache-2.0
"""Pages and tables made from the code's own declarations, written to docs/generated."""

import argparse
import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sphinx.pycode import ModuleAnalyzer

from panoptic_ros.cli.main import make_parser
from panoptic_ros.cli.recipes import recipe_files, study_files
from panoptic_ros.core.documents import read_yaml
from panoptic_ros.metrics.registry import metric_table
from panoptic_ros.node.parameters import parameter_table
from panoptic_ros.node.topics import TOPICS


def markdown_table(columns: tuple[str, ...], rows: Iterator[tuple[Any, ...]]) -> str:
    """Return a table; a `|` in a cell is escaped."""
    lines = [columns, ('---',) * len(columns), *rows]
    return ''.join(
        '| ' + ' | '.join(str(cell).replace('|', r'\|') for cell in line) + ' |\n'
        for line in lines
    )


def parameters() -> str:
    """Return the table of the node's parameters."""
    return parameter_table()


def topics() -> str:
    """Return the table of the published topics."""

    def rows() -> Iterator[tuple[str, str, str]]:
        for topic in TOPICS:
            kind = topic.kind.replace('/msg/', '/')
            where = ', where installed' if kind.startswith('vision_msgs') else ''
            latched = 'latched; ' if topic.latched else ''
            yield f'`{topic.name}`', kind + where, latched + topic.contents

    return markdown_table(('topic', 'type', 'contents'), rows())


def metrics() -> str:
    """Return the table of the metrics with their definitions and sources."""
    return metric_table()


def datasets() -> str:
    """Return the table of the data sets."""
    from panoptic_training.data.registry import dataset_table

    return dataset_table()


def recipes() -> str:
    """Return the table of the shipped training recipes."""

    def rows() -> Iterator[tuple[str, ...]]:
        for name, path in recipe_files().items():
            recipe = read_yaml(path)
            data, model = recipe['data'], recipe['model']
            size = 'x'.join(map(str, data['input_size']))
            yield f'`{name}`', f'`{model["family"]}`', f'`{data["dataset"]}`', size

    return markdown_table(('recipe', 'family', 'data set', 'input size'), rows())


def studies() -> str:
    """Return the table of the shipped ablation studies."""
    rows = ((f'`{name}`', read_yaml(path)['title']) for name, path in study_files().items())
    return markdown_table(('study', 'table of the paper'), rows)


def _attribute_docs(cls: type) -> dict[str, str]:
    """Return the docstrings below the fields of a class and its bases."""
    docs: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if dataclasses.is_dataclass(base):
            found = ModuleAnalyzer.for_module(base.__module__).find_attr_docs()
            for (owner, name), lines in found.items():
                if owner == base.__name__:
                    docs[name] = ' '.join(lines).strip()
    return docs


def settings_table(cls: type) -> str:
    """Return the fields of a configuration class with their defaults and docstrings."""
    docs = _attribute_docs(cls)

    def rows() -> Iterator[tuple[str, str, str]]:
        for field in dataclasses.fields(cls):
            default = '' if field.default is dataclasses.MISSING else f'`{field.default!r}`'
            yield f'`{field.name}`', default, docs.get(field.name, '')

    return markdown_table(('key', 'default', 'meaning'), rows())


def family_settings() -> dict[str, str]:
    """Return by family the tables of its keys `model.network` and `model.loss`."""
    from panoptic_ros.models.registry import FAMILIES
    from panoptic_training.losses.registry import build_loss

    pages = {}
    for name, family in FAMILIES.items():
        text = f'### Keys of `model.network`\n\n{settings_table(family.config)}'
        if family.loss is not None:
            loss_config = type(build_loss(name, {}).keywords['config'])
            text += f'\n### Keys of `model.loss`\n\n{settings_table(loss_config)}'
        pages[name] = text
    return pages


def command_line() -> str:
    """Return the help texts of all commands, as `panoptic COMMAND --help` prints them."""
    os.environ['COLUMNS'] = '92'
    parser = make_parser()
    [commands] = [
        action for action in parser._actions if isinstance(action, argparse._SubParsersAction)
    ]
    parts = [f'```text\n{parser.format_help()}```\n']
    for name, command in commands.choices.items():
        parts.append(f'## panoptic {name}\n\n```text\n{command.format_help()}```\n')
    return '\n'.join(parts)


def write_generated(app: Any) -> None:
    """Write each generated file where its text has changed."""
    folder = Path(app.srcdir) / 'generated'
    folder.mkdir(exist_ok=True)
    makers = (parameters, topics, recipes, studies, metrics, datasets, command_line)
    texts = {make.__name__: make() for make in makers}
    texts |= {f'settings_{family}': text for family, text in family_settings().items()}
    for name, text in texts.items():
        path = folder / f'{name}.md'
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def setup(app: Any) -> dict[str, Any]:
    """Register the extension."""
    app.connect('builder-inited', write_generated)
    return {'parallel_read_safe': True}
