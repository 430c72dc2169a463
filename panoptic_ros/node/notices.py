# SPDX-License-Identifier: Apache-2.0
"""Warnings about images; each is logged once."""

import logging
import re
from collections import defaultdict

from panoptic_ros.core.text import one_line

MAX_DIFFERENT = 5
"""Most different texts of one kind of trouble."""

logger = logging.getLogger(__name__)


class Notices:
    """Log of warnings that could repeat with every image.

    Texts that differ only in numbers count as the same, and each kind of trouble gets a handful
    of lines, whatever the images contain.
    """

    def __init__(self, title: str = '') -> None:
        """Begin with no warning logged.

        Args:
            title: start of each warning.
        """
        self._title = title
        self._logged: defaultdict[str, set[str]] = defaultdict(set)

    def clear(self) -> None:
        """Forget which warnings were logged."""
        self._logged.clear()

    def warn(self, kind: str, text: str) -> None:
        """Log a warning, unless it or enough others of its kind were logged before.

        Args:
            kind: of trouble, one of a few.
            text: what is wrong, of unknown length.
        """
        logged, text = self._logged[kind], one_line(text)
        key = re.sub(r'[0-9a-f]*\d[0-9a-f]*', '#', text)
        if key in logged or len(logged) > MAX_DIFFERENT:
            return
        logged.add(key)
        if len(logged) > MAX_DIFFERENT:
            logger.warning(
                '%s%s: further warnings of this kind are not logged; see the diagnostics',
                self._title,
                kind,
            )
        else:
            logger.warning('%s%s', self._title, text)
