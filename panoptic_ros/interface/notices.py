"""Warnings about images, each logged once."""

from __future__ import annotations

import logging
import re
from collections import defaultdict

from panoptic_ros.interface.text import one_line

MAX_DIFFERENT = 5
"""Most different texts of one kind of trouble."""

logger = logging.getLogger(__name__)


class Notices:
    """Warnings that repeat with every image; texts that differ in numbers only are the same.

    Whatever comes in, a kind of trouble takes a handful of lines.
    """

    def __init__(self) -> None:
        self._said: defaultdict[str, set[str]] = defaultdict(set)

    def clear(self) -> None:
        """Forgets what was said."""
        self._said.clear()

    def warn(self, kind: str, text: str) -> None:
        """Logs a warning, unless it or enough others of its kind were logged before.

        Args:
            kind: of trouble, one of a few.
            text: what is wrong, of unknown length.
        """
        said, text = self._said[kind], one_line(text)
        key = re.sub(r'[0-9a-f]*\d[0-9a-f]*', '#', text)
        if key in said or len(said) > MAX_DIFFERENT:
            return
        said.add(key)
        if len(said) > MAX_DIFFERENT:
            logger.warning('%s: more texts than these are not logged; the diagnostics have the '
                           'newest', kind)
        else:
            logger.warning(text)
