# SPDX-License-Identifier: Apache-2.0
"""One try: the check of a case, and what counts as a finding."""

import errno
import os
import re
import resource
import shutil
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import panoptic_ros
from fuzz.case import CANARY, Case, Target, Wrong, listing

MAX_BYTES = 2 << 30
"""Memory that a try may take."""

MAX_SECONDS = 10.0
"""Time of the processor that a try may take."""

MAX_TEXT = 2500
"""Characters of an error message; each of several engines may have a reason of 2000."""

_ROOT = Path(panoptic_ros.__file__).parents[1]
_PACKAGES = (f'{_ROOT / "panoptic_ros"}{os.sep}', f'{_ROOT / "training"}{os.sep}')
_CONTROL = re.compile('[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]')


class Outcome(NamedTuple):
    """Result of a try."""

    accepted: bool
    kind: str = ''
    """Kind of a finding; empty if there is none. Findings of one kind have one cause."""

    text: str = ''
    """Explanation of a finding, with its traceback; otherwise the message of a refusal."""


def attempt(target: Target, case: Case, folder: Path) -> Outcome:
    """Run the check of a case in the present working folder, and judge what it does.

    Args:
        target: what reads the case.
        case: its input.
        folder: an empty folder for the files; removed.
    """
    folder.mkdir()
    case.write(folder)
    before, start_s = listing(folder), time.process_time()
    had = _reset_peak()
    outcome = _check(target, case, folder)
    seconds, taken = time.process_time() - start_s, _peak() - had
    if Path(CANARY).exists():
        _remove(Path(CANARY))
        outcome = Outcome(True, 'executed', 'code or SQL of the file was executed')
    elif outcome.kind:
        pass
    elif taken > MAX_BYTES:
        outcome = Outcome(True, 'memory', f'it took {taken >> 20} MB; {outcome.text}')
    elif seconds > MAX_SECONDS:
        outcome = Outcome(True, 'hang', f'it took {seconds:.0f} s; {outcome.text}')
    elif listing(folder) != before:
        outcome = Outcome(True, 'written', f'a reader wrote to {folder}')
    elif not outcome.accepted and case.truth.get('intact'):
        outcome = Outcome(True, 'refused', f'a valid case was refused: {outcome.text}')
    shutil.rmtree(folder)
    return outcome


def _check(target: Target, case: Case, folder: Path) -> Outcome:
    try:
        target.check(case, folder)
    except Wrong as error:
        return Outcome(True, f'wrong: {str(error).partition(":")[0]}', _trace(error))
    except MemoryError as error:
        return Outcome(True, f'memory at {_place(error)}', _trace(error))
    except target.errors as error:
        if fault := fault_of(error, target.passes_on):
            kind = f'{fault}: {type(error).__name__} at {_place(error)}'
            return Outcome(True, kind, _trace(error))
        return Outcome(False, '', str(error))
    except Exception as error:
        return Outcome(True, f'{type(error).__name__} at {_place(error)}', _trace(error))
    return Outcome(True)


def fault_of(error: Exception, passes_on: bool) -> str:
    """Return why an error is not one for users; empty if it is. See `Target.passes_on`."""
    text = str(error)
    if isinstance(error, OSError) and error.errno is not None:
        # Made by the operating system, or like its own; a broken disk is not a fault of a file.
        expected = (errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)
        return '' if error.errno in (*expected, errno.EACCES, errno.EEXIST) else 'system'
    if not text.strip():
        return 'no message'
    if _CONTROL.search(text):
        return 'control characters'
    if len(text) > MAX_TEXT:
        return 'long message'
    frame = traceback.extract_tb(error.__traceback__)[-1]
    is_own = passes_on or frame.filename.startswith(_PACKAGES)
    return '' if is_own else 'not raised by the package'


def _place(error: BaseException) -> str:
    """Return the innermost function of the package that an error comes from."""
    frames = traceback.extract_tb(error.__traceback__)
    inner = [frame for frame in frames if frame.filename.startswith(_PACKAGES)] or frames
    return f'{Path(inner[-1].filename).name}:{inner[-1].name}'


def _trace(error: BaseException) -> str:
    return ''.join(traceback.format_exception(error, limit=-12))[-6000:]


def _reset_peak() -> int:
    """Reset the peak of resident memory, and return the present one, bytes."""
    with suppress(OSError):  # not allowed here; the limit of the worker remains
        Path('/proc/self/clear_refs').write_text('5')
    return _peak()


def _peak() -> int:
    text = Path('/proc/self/status').read_text()
    found = re.search(r'VmHWM:\s+(\d+) kB', text)
    return int(found[1]) << 10 if found else 0


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def limit_memory() -> None:
    """Let allocations of this process fail that would exceed the limit by far."""
    text = Path('/proc/self/status').read_text()
    found = re.search(r'VmData:\s+(\d+) kB', text)
    size = (int(found[1]) << 10 if found else 0) + MAX_BYTES * 5 // 4
    resource.setrlimit(resource.RLIMIT_DATA, (size, size))
