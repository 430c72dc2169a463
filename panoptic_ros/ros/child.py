# SPDX-License-Identifier: Apache-2.0
"""Runner of a module that ends with its parent process, however that ends.

`python -m panoptic_ros.ros.child <pid of the parent> <module> <arguments>`
"""

import ctypes
import os
import runpy
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Request SIGINT at the parent's end from Linux, then run the module."""
    parent, module, *arguments = sys.argv[1:]
    if sys.platform == 'linux':
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGINT)
    if os.getppid() != int(parent):
        return
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name='__main__', alter_sys=True)


if __name__ == '__main__':
    main()
