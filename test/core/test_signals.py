# SPDX-License-Identifier: Apache-2.0
"""SIGTERM as an exception."""

import os
import signal

import pytest

from panoptic_ros.core.signals import exit_at_sigterm


def test_sigterm_leaves_the_block_and_only_the_block():
    before, steps = signal.getsignal(signal.SIGTERM), []
    with pytest.raises(SystemExit) as left, exit_at_sigterm():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            steps.append('after')
        finally:
            steps.append('clean-up')
    assert (left.value.code, steps) == (143, ['clean-up'])
    assert signal.getsignal(signal.SIGTERM) == before
