# SPDX-License-Identifier: Apache-2.0
"""Numbers of all commands have a range, and all help texts fit a terminal of 80 columns."""

import argparse
from pathlib import Path

import pytest

from panoptic_ros.cli import main as cli
from panoptic_ros.cli.arguments import HelpFormatter, Parser, number, whole
from panoptic_ros.cli.model_source import model_argument


def commands(parser=None, words=()):
    """All commands with their parsers, by their words."""
    parser = parser or cli.make_parser()
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, child in action.choices.items():
                yield from commands(child, (*words, word))
            return
    yield words, parser


COMMANDS = {' '.join(words): parser for words, parser in commands() if words != ('train',)}

NUMBERS = [
    (command, action.option_strings[0], action.nargs)
    for command, parser in COMMANDS.items()
    for action in parser._actions
    if action.option_strings
    and action.type is not None
    and action.type not in (Path, model_argument)
    and action.choices is None
]


def test_the_walk_finds_numbers():
    assert ('benchmark', '--threads', None) in NUMBERS and len(NUMBERS) > 20
    assert ('benchmark', '--image-size', 2) in NUMBERS


@pytest.mark.parametrize('value', ['-1', 'nan', 'inf', '-inf', 'many', ''])
@pytest.mark.parametrize(('command', 'flag', 'count'), NUMBERS)
def test_a_number_out_of_its_range_is_refused(capsys, command, flag, count, value):
    words = [value] * (count if isinstance(count, int) else 1)
    assert cli.main([*command.split(), f'{flag}={value}', *words[1:]]) == 2
    line = capsys.readouterr().err
    assert line.startswith('panoptic: error: ') and line.count('\n') == 1
    assert f'{flag} ' in line or 'argument' in line or count == 2


@pytest.mark.parametrize(
    ('convert', 'accepted', 'refused'),
    [
        (whole(1), {'1': 1, '99': 99}, ('0', '1.5', '1e3', 'nan', '-1')),
        (whole(0, 3), {'0': 0, '3': 3}, ('4', '-1')),
        (number(above=0), {'0.1': 0.1, '1e9': 1e9}, ('0', '-1', 'nan', 'inf', 'x')),
        (number(least=0, most=1), {'0': 0, '1': 1, '.5': 0.5}, ('1.1', '-0.1', 'nan')),
    ],
)
def test_ranges(convert, accepted, refused):
    for text, value in accepted.items():
        assert convert(text) == value
    for text in refused:
        with pytest.raises(argparse.ArgumentTypeError, match=r'must be a (whole )?number'):
            convert(text)


@pytest.mark.parametrize('command', ['', 'data', *COMMANDS])
def test_help_fits_80_columns_and_ends_with_examples(capsys, monkeypatch, command):
    monkeypatch.setenv('COLUMNS', '80')
    with pytest.raises(SystemExit, match='0'):
        cli.main([*command.split(), '--help'])
    text = capsys.readouterr().out
    assert [line for line in text.splitlines() if len(line) > 80] == []
    assert not command or 'example' in text


def test_every_argument_is_explained():
    missing = [
        (command, action.dest)
        for command, parser in COMMANDS.items()
        for action in parser._actions
        if not action.help or action.help.startswith('(')
    ]
    assert missing == []


def test_every_default_is_shown():
    missing = [
        (command, action.dest)
        for command, parser in COMMANDS.items()
        for action in parser._actions
        if action.default not in (None, False, [], argparse.SUPPRESS)
        and '(default' not in str(action.help)
    ]
    assert missing == []


def test_paragraphs_are_filled_and_lists_are_kept():
    parser = Parser(
        prog='x',
        formatter_class=lambda prog: HelpFormatter(prog, width=30),
        description='One two three four five six\nseven eight:\n  a     b\n  c     d\nlast one',
    )
    assert parser.format_help().split('\n\n')[1].splitlines() == [
        'One two three four five six',
        'seven eight:',
        '  a     b',
        '  c     d',
        'last one',
    ]


def test_flags_are_not_abbreviated(capsys):
    assert cli.main(['demo', '--dur', '3']) == 2
    assert "unknown argument '--dur'; did you mean --duration?" in capsys.readouterr().err
