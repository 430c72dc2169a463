# SPDX-License-Identifier: Apache-2.0
"""Contents of a gallery, which a page sorts and filters; see templates/gallery.html.j2."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Item:
    """A picture with its captions."""

    name: str

    picture: str
    """Address relative to the page, or a data URL; empty for none."""

    lines: Sequence[str]
    """Lines of text below the name."""

    numbers: Mapping[str, float]
    """Values to sort by, NaN for a missing one."""

    marks: Iterable[tuple[str, ...]] = ()
    """What the picture holds, a value for each filter, empty where a filter does not apply. A
    picture is shown if one of its marks has all the values that are chosen."""


@dataclass(frozen=True)
class Gallery:
    """Pictures, and what to sort and filter them by."""

    what: str
    """What the items are, in the plural."""

    items: Sequence[Item]

    sorts: Mapping[str, tuple[str, bool]]
    """Title by key of `Item.numbers`, and whether large numbers come first."""

    filters: Mapping[str, Sequence[str]]
    """Values by title."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for the page; a mark is the indices of its values and a count."""
        places = [{value: i for i, value in enumerate(v)} for v in self.filters.values()]
        return {
            'what': self.what,
            'sorts': [
                {'key': key, 'title': title, 'descending': descending}
                for key, (title, descending) in self.sorts.items()
            ],
            'filters': [
                {'title': title, 'values': list(values)} for title, values in self.filters.items()
            ],
            'items': [
                {
                    'name': item.name,
                    'picture': item.picture,
                    'lines': list(item.lines),
                    'numbers': {
                        key: None if math.isnan(value) else value
                        for key, value in item.numbers.items()
                    },
                    'marks': [
                        [*(place.get(v, -1) for place, v in zip(places, mark, strict=True)), n]
                        for mark, n in Counter(item.marks).items()
                    ],
                }
                for item in self.items
            ],
        }
