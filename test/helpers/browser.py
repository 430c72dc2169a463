# SPDX-License-Identifier: Apache-2.0
"""A headless browser that shows a page."""

import shutil
import subprocess
from pathlib import Path

import pytest

CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser')

needs_browser = pytest.mark.skipif(
    CHROMIUM is None, reason='needs chromium (apt install chromium)'
)


def shown_page(page: Path, profile: Path, fragment: str = '') -> str:
    """Return the document after its scripts have run.

    Args:
        page: the HTML file.
        profile: folder for the browser's own files.
        fragment: end of the address, without `#`.
    """
    assert CHROMIUM
    flags = ['--headless', '--no-sandbox', '--disable-gpu', f'--user-data-dir={profile}']
    return subprocess.run(
        [CHROMIUM, *flags, '--dump-dom', f'file://{page}#{fragment}'],
        check=True,
        timeout=120,
        capture_output=True,
        text=True,
    ).stdout
