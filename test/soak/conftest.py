# SPDX-License-Identifier: Apache-2.0
"""Path of the package `soak`, which is this folder, for the tests in it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
