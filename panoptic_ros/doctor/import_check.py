# SPDX-License-Identifier: Apache-2.0
"""Import of packages in a process of its own.

`python -m panoptic_ros.doctor.import_check NAME ...` writes a line of JSON after each package, so
that the reader knows which one ended the process.
"""

import json
import sys
from importlib import import_module

from panoptic_ros.core.text import reason_of


def main() -> None:
    """Import each package that the command line names, and report its version and folder."""
    for name in sys.argv[1:]:
        report = {'module': name, 'version': None, 'file': None, 'error': None}
        try:
            module = import_module(name)
        except ModuleNotFoundError as error:
            missing = error.name == name
            report['error'] = 'is not installed' if missing else _broken(error)
        except BaseException as error:  # a broken extension may raise anything
            report['error'] = _broken(error)
        else:
            report['version'] = str(getattr(module, '__version__', '')) or None
            report['file'] = getattr(module, '__file__', None)
        print(json.dumps(report), flush=True)


def _broken(error: BaseException) -> str:
    return f'cannot be imported: {type(error).__name__}: {reason_of(error, 300)}'


if __name__ == '__main__':
    main()
