# SPDX-License-Identifier: Apache-2.0
"""Messages of one line and exit statuses for errors."""

import argparse
import os
import sys
import tempfile
import time
import traceback
from pathlib import Path

from panoptic_ros.core.files import write_bytes

INPUT, INTERNAL = 2, 1
"""Exit statuses after an error in the user's input, and in the program itself."""

RUNTIME_PACKAGES = frozenset({'numpy', 'cv2', 'scipy', 'onnx', 'onnxruntime', 'yaml', 'rich'})
"""Packages that every command needs; some are missing after `colcon build` alone."""

MAX_CHARS = 500
"""Maximum length of an internal error's message; the traceback has the complete text."""


def explain(error: Exception, args: argparse.Namespace) -> tuple[int, str]:
    """Return the exit status and a message of one line for an error.

    Args:
        error: raised by the command.
        args: the command's arguments. Their files are added to messages that name no file.
    """
    text = ' '.join(str(error).split())
    kind = type(error).__name__
    if isinstance(error, RecursionError):
        return INPUT, f'values are nested too deeply{_files(args)}'
    if isinstance(error, MemoryError):
        return INTERNAL, f'not enough memory{": " * bool(text)}{text}{_files(args)}'
    if isinstance(error, OSError) and error.errno:
        if error.filename is None:
            return INPUT, f'{text}{_files(args)}'
        return INPUT, f'{error.filename}: {error.strerror}'
    if isinstance(error, ImportError) and 'install' not in text:
        if (error.name or '').partition('.')[0] in RUNTIME_PACKAGES:
            return INPUT, (
                f'{text}; every command needs it: install the package again as '
                'docs/install.md says'
            )
        return INPUT, (
            f'{text}; this command needs more packages: pip install "panoptic_ros[train]"'
        )
    if isinstance(error, (ValueError, OSError, ImportError)) or _is_backend_error(error):
        return INPUT, text or kind
    return INTERNAL, f'internal error, {kind}: {text[:MAX_CHARS]}{_files(args)}'


def keep_traceback(error: Exception) -> str:
    """Write the traceback to a file, and return a sentence that names the file.

    The file is `last_error.txt` in the user's state folder, which the next error replaces, or a
    new file in the temporary folder if the state folder cannot be written to.
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
    except (OSError, RuntimeError):  # RuntimeError: the user has no home
        try:
            with tempfile.NamedTemporaryFile(
                prefix='panoptic_error_', suffix='.txt', delete=False
            ) as file:
                file.write(data)
        except OSError:
            return 'run it again with --traceback to see where it comes from'
        path = Path(file.name)
    return f'traceback in {path}'


def _is_backend_error(error: Exception) -> bool:
    """Return whether a backend raised the error; without NumPy there is no backend."""
    try:
        from panoptic_ros.runtime.backend import BackendError
    except ImportError:
        return False
    return isinstance(error, BackendError)


def _files(args: argparse.Namespace) -> str:
    """Return the files and folders among a command's arguments, as the end of a message."""
    paths = [
        str(path)
        for value in vars(args).values()
        for path in (value if isinstance(value, list) else [value])
        if isinstance(path, Path)
    ]
    return f' (given: {", ".join(paths)})' if paths else ''
