# SPDX-License-Identifier: Apache-2.0
"""Model card: short texts that say what a model was trained on and what it is for."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from panoptic_ros.core.documents import read_yaml
from panoptic_ros.core.text import did_you_mean, one_line, short

CARD_FIELDS = {
    'training_data': 'training data',
    'data_licence': 'licence of the data',
    'weights_licence': 'licence of the weights',
    'intended_use': 'intended use',
    'limits': 'limits',
}
"""Title by field of a card; each field may be left out."""

MAX_CARD_CHARS = 1000
"""Maximum length of a field."""


def check_card(card: Any) -> None:
    """Refuse a card with an unknown field, or a text that is not a short printable line.

    Raises:
        ValueError: names the field.
    """
    if not isinstance(card, Mapping):
        raise ValueError(f'a model card holds {", ".join(CARD_FIELDS)}, got {short(card)}')
    for name, text in card.items():
        if name not in CARD_FIELDS:
            hint = did_you_mean(str(name), CARD_FIELDS)
            raise ValueError(
                f'a model card has no field {short(name)}{hint}; it holds {", ".join(CARD_FIELDS)}'
            )
        if (
            not isinstance(text, str)
            or not text.isprintable()
            or not 0 < len(text) <= MAX_CARD_CHARS
        ):
            raise ValueError(
                f'{name} of a model card must be a text of 1 to {MAX_CARD_CHARS} printable '
                f'characters, got {one_line(repr(text), 60)}'
            )


def read_card(path: Path) -> dict[str, str]:
    """Read a card from a YAML file; line breaks in a text become spaces.

    Raises:
        OSError: for a missing file.
        ValueError: for a file that holds anything else; the message starts with its path.
    """
    content = read_yaml(path)
    if isinstance(content, dict):
        content = {
            name: ' '.join(text.split()) if isinstance(text, str) else text
            for name, text in content.items()
        }
    try:
        check_card(content)
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from None
    return dict(content)
