# SPDX-License-Identifier: Apache-2.0
"""Model card from what ONNX files say about their licence."""

from collections.abc import Sequence

from panoptic_ros.core.card import MAX_CARD_CHARS
from panoptic_ros.core.text import one_line

from .source import Network

ENTRIES = ('license', 'author')
"""Metadata that Ultralytics writes."""


def card_of(networks: Sequence[Network]) -> dict[str, str]:
    """Return the licence of networks and their authors as a card; empty if none states any.

    Of several networks, each is named by its file.
    """
    stated = [(network.path.name, _licence_of(network)) for network in networks]
    if not any(licence for _, licence in stated):
        return {}
    text = '; '.join(
        f'{one_line(name)}: {licence or "not stated"}' if len(stated) > 1 else licence
        for name, licence in stated
    )
    return {'weights_licence': text[:MAX_CARD_CHARS]}


def _licence_of(network: Network) -> str:
    texts = (one_line(network.metadata.get(key, '')) for key in ENTRIES)
    return ', '.join(text for text in texts if text)
