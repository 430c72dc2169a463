# SPDX-License-Identifier: Apache-2.0
"""Argument parser and argument types of the commands: errors of one line, readable help."""

import argparse
import math
import re
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from panoptic_ros.core.text import did_you_mean, one_line

MAX_SHOWN = 100
"""Most characters of a value in an error message."""


class Parser(argparse.ArgumentParser):
    """Parser whose errors are ValueErrors of one line, which name the nearest word.

    Its help fits the terminal; see `HelpFormatter`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs = {'formatter_class': HelpFormatter, 'allow_abbrev': False, **kwargs}
        super().__init__(*args, **kwargs)

    def error(self, message: str) -> NoReturn:
        """Raise an error; `main` prints it."""
        message = re.sub(r'^argument (?:\S+/)?(\S+): (expected )?', _subject, message)
        raise ValueError(f'{message}; see `{self.prog} --help`')

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse arguments; an unknown one is an error of the command that received it."""
        namespace, rest = super().parse_known_args(args, namespace)
        if rest:
            flag = rest[0].partition('=')[0]
            hint = did_you_mean(flag, self._option_string_actions) if flag[:1] == '-' else ''
            self.error(f'unknown argument {one_line(rest[0], MAX_SHOWN)!r}{hint}')
        return namespace, rest

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is None or value in action.choices:
            return
        choices = [str(choice) for choice in action.choices]
        words = ', '.join(choices)
        got = f'{one_line(value, MAX_SHOWN)!r}{did_you_mean(str(value), choices)}'
        if isinstance(action, argparse._SubParsersAction):
            kind = str(action.metavar).split()[0].lower()
            self.error(f'{kind} must be one of {words}; got {got}')
        raise argparse.ArgumentError(action, f'must be one of {words}; got {got}')


class HelpFormatter(argparse.HelpFormatter):
    """Formatter that wraps paragraphs at the terminal's width, and keeps lists and examples.

    In descriptions and epilogs, lines that start with a space are kept as they are, and so is the
    line before them; consecutive other lines are a paragraph.
    """

    def __init__(self, prog: str, **kwargs: Any) -> None:
        super().__init__(prog, **{'max_help_position': 26, **kwargs})

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        blocks: list[str] = []
        paragraph: list[str] = []

        def end_paragraph() -> None:
            if paragraph:
                blocks.append(textwrap.fill(' '.join(paragraph), width, break_on_hyphens=False))
                paragraph.clear()

        for line in text.splitlines():
            if not line or line.startswith(' '):
                end_paragraph()
                blocks.append(line)
            else:
                paragraph.append(line)
        end_paragraph()
        return '\n'.join(f'{indent}{line}' for line in blocks)

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(' '.join(text.split()), width, break_on_hyphens=False)


def _subject(match: re.Match[str]) -> str:
    """Return the start of a message with the flag as its subject."""
    return f'{match[1]} ' + ('expects ' if match[2] else '')


def add_data(parser: argparse.ArgumentParser) -> None:
    """Add the flag --data, which names a data set."""
    parser.add_argument(
        '--data',
        required=True,
        metavar='DATA',
        help='synthetic, a data set and its folder (camvid:<folder>), or a '
        'folder alone, which is recognised by its layout',
    )


def add_model_output(parser: argparse.ArgumentParser) -> None:
    """Add the flag --output of a new model file."""
    parser.add_argument(
        '-o',
        '--output',
        type=Path,
        required=True,
        metavar='FILE',
        help='the model file to write, ending in .onnx',
    )


def add_folder_output(parser: argparse.ArgumentParser, text: str) -> None:
    """Add the flag --output of a folder, with this help text."""
    parser.add_argument('-o', '--output', type=Path, required=True, metavar='DIR', help=text)


def add_recordings(parser: argparse.ArgumentParser) -> None:
    """Add the positional argument of recordings."""
    parser.add_argument(
        'recordings',
        type=Path,
        nargs='+',
        metavar='RECORDING',
        help='a rosbag2, a ROS 1 bag, a video or a folder of images',
    )


def add_image_topics(parser: argparse.ArgumentParser) -> None:
    """Add the flag --image, the image topics of recordings."""
    parser.add_argument(
        '--image',
        action='append',
        default=[],
        metavar='TOPIC',
        help='image topic; repeat for more cameras (default: all camera images)',
    )


def add_stride(parser: argparse.ArgumentParser, verb: str) -> None:
    """Add the flag --stride: only every N-th image of a recording is read."""
    parser.add_argument(
        '--stride',
        type=whole(1),
        default=1,
        metavar='N',
        help=f'{verb} every N-th image (default: %(default)s)',
    )


def add_rate(parser: argparse.ArgumentParser) -> None:
    """Add the flag --rate, the speed of --live."""
    parser.add_argument(
        '--rate',
        type=number(above=0, most=100),
        metavar='FACTOR',
        help='with --live: playback speed (default: 1.0)',
    )


def add_unknown(parser: argparse.ArgumentParser) -> None:
    """Add the flag --unknown, least scores by class."""
    parser.add_argument(
        '--unknown',
        type=class_score,
        nargs='+',
        default=[],
        metavar='CLASS=SCORE',
        help='publish segments of CLASS with a score below SCORE as `unknown`: the segment stays, '
        'only its class is withheld',
    )


def class_score(text: str) -> tuple[str, float]:
    """Return the class and the score, 0 to 1, of `CLASS=SCORE`."""
    name, separator, score = text.rpartition('=')
    if not separator or not name.strip():
        raise _refused('CLASS=SCORE', text)
    return name.strip(), number(least=0, most=1)(score)


def read_changes(words: list[str]) -> dict[str, Any]:
    """Parse `key=value` pairs with values in YAML.

    Raises:
        ValueError: for a word without `=`.
    """
    from panoptic_ros.core.documents import parse_yaml

    for word in words:
        if '=' not in word:
            raise ValueError(f'--set takes KEY=VALUE, got {word!r}')
    return {
        key: parse_yaml(value, f'--set {key}')
        for key, _, value in (w.partition('=') for w in words)
    }


def add_images(parser: argparse.ArgumentParser) -> None:
    """Add the flags that choose images of a data set: --split, --images and --limit."""
    parser.add_argument(
        '--split',
        default='val',
        choices=('train', 'val', 'test'),
        help='part of the data (default: %(default)s)',
    )
    parser.add_argument(
        '--images',
        metavar='START:STOP:STEP',
        help='take only these images, counted from 0 as in Python: ::2 is every '
        'second one, 1::2 are the others',
    )
    parser.add_argument(
        '--limit',
        type=whole(1),
        metavar='N',
        help='take only the first N images, of --images if given',
    )


def add_backend(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say where a model runs: --backend and --device."""
    parser.add_argument(
        '--backend',
        default='auto',
        metavar='NAME',
        help='auto, tensorrt, tensorrt_rtx, onnxruntime or torch (default: %(default)s)',
    )
    parser.add_argument(
        '--device',
        default='auto',
        metavar='NAME',
        help='auto, cpu, cuda or cuda:<index> (default: %(default)s)',
    )


def parse_slice(text: str) -> slice:
    """Return the slice that `start:stop` or `start:stop:step` names; each part may be empty.

    Raises:
        ValueError: for another text, or a step below 1.
    """
    try:
        parts = [int(part) if part else None for part in text.split(':')]
    except ValueError:
        parts = []
    if not 2 <= len(parts) <= 3 or any(step is not None and step < 1 for step in parts[2:]):
        raise ValueError(
            f'--images must be START:STOP:STEP with a step of at least 1, as ::2, got {text!r}'
        )
    return slice(*parts)


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """Return the type of whole numbers in a range."""

    def convert(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise _refused('a whole number', text) from None
        if value < least or (most is not None and value > most):
            raise _refused(_in_range('a whole number', f'of at least {least}', most), text)
        return value

    return convert


def number(
    least: float | None = None, above: float | None = None, most: float | None = None
) -> Callable[[str], float]:
    """Return the type of finite numbers in a range.

    Args:
        least: smallest number.
        above: lower bound that is not itself accepted.
        most: largest number.
    """
    bound = f'of at least {least:g}' if least is not None else f'over {above:g}'

    def convert(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise _refused('a number', text) from None
        if (
            not math.isfinite(value)
            or (least is not None and value < least)
            or (above is not None and value <= above)
            or (most is not None and value > most)
        ):
            raise _refused(_in_range('a number', bound, most), text)
        return value

    return convert


def _in_range(kind: str, lower: str, most: float | None) -> str:
    return f'{kind} {lower}' + ('' if most is None else f' and at most {most}')


def _refused(expected: str, text: str) -> argparse.ArgumentTypeError:
    return argparse.ArgumentTypeError(f'must be {expected}, got {one_line(text, MAX_SHOWN)!r}')
