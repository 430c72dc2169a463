# SPDX-License-Identifier: Apache-2.0
"""Long run of the node with two cameras while faults happen around it: `make soak MINUTES=10`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / 'helpers'))
