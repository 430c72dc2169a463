# SPDX-License-Identifier: Apache-2.0
"""Errors as one line and an exit status."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import traceback
from pathlib import Path

from panoptic_ros.core.files import write_bytes
from panoptic_ros.runtime.backend import BackendError

INPUT, INTERNAL = 2, 1
"""Exit status after an error in what the user gave, and in the program itself."""

RUNTIME_PACKAGES = frozenset({'numpy', 'cv2', 'scipy', 'onnx', 'onnxruntime', 'yaml', 'rich'})
"""What the package cannot do without; after `colcon build` alone, some are missing."""

MAX_CHARS = 500
"""Longest text of an internal error that is shown; the traceback has all of it."""


def explain(error: Exception, args: argparse.Namespace) -> tuple[int, str]:
    """What is wrong.

    Args:
        error: what ended the command.
        args: the command's; errors that do not name a file are told with the files given here.

    Returns:
        The exit status, and one line.
    """
    text = ' '.join(str(error).split())
    kind = type(error).__name__
    if isinstance(error, RecursionError):
        return INPUT, f'values are nested too deeply{_files(args)}'
    if isinstance(error, MemoryError):
        return INTERNAL, f'not enough memory{": " * bool(text)}{text}{_files(args)}'
    if isinstance(error, OSError) and error.errno and error.filename is None:
        return INPUT, f'{text}{_files(args)}'
    if isinstance(error, ImportError) and 'install' not in text:
        if (error.name or '').partition('.')[0] in RUNTIME_PACKAGES:
            return INPUT, (
                f'{text}; every command needs it: install the package again as '
                'docs/install.md says'
            )
        return INPUT, (
            f'{text}; this command needs more packages: pip install "panoptic_ros[train]"'
        )
    if isinstance(error, (ValueError, OSError, BackendError, ImportError)):
        return INPUT, text or kind
    return INTERNAL, f'internal error, {kind}: {text[:MAX_CHARS]}{_files(args)}'


def keep_traceback(error: Exception) -> str:
    """Writes the traceback into a file of the user, and says where it is.

    The file is the state folder's `last_error.txt`, which the next error replaces; where that
    folder cannot be written to, a new file in the temporary folder.
    """
    lines = [
        f'{time.strftime("%F %T")}, Python {sys.version.split()[0]}: {" ".join(sys.argv)}\n',
        *traceback.format_exception(error),
    ]
    data = ''.join(lines).encode(errors='replace')
    try:
        state = Path(os.environ.get('XDG_STATE_HOME') or Path.home() / '.local/state')
        path = state / 'panoptic_ros' / 'last_error.txt'
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(data, path)
    except (OSError, RuntimeError):  # the latter where the user has no home
        try:
            with tempfile.NamedTemporaryFile(
                prefix='panoptic_error_', suffix='.txt', delete=False
            ) as file:
                file.write(data)
        except OSError:
            return 'run it again with --traceback to see where it comes from'
        path = Path(file.name)
    return f'traceback in {path}'


def _files(args: argparse.Namespace) -> str:
    """The files and folders among a command's arguments, to be put behind an error's text."""
    paths = [
        str(path)
        for value in vars(args).values()
        for path in (value if isinstance(value, list) else [value])
        if isinstance(path, Path)
    ]
    return f' (given: {", ".join(paths)})' if paths else ''
