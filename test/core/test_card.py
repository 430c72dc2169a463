# SPDX-License-Identifier: Apache-2.0
"""Model cards: valid files are read, others refused in one line."""

import pytest
import yaml

from panoptic_ros.cli.recipes import find_model_card
from panoptic_ros.core.card import CARD_FIELDS, MAX_CARD_CHARS, read_card
from panoptic_ros.core.model_file import read_info
from panoptic_ros.core.resources import default_model


def test_a_card_is_read_with_its_lines_joined(tmp_path):
    path = tmp_path / 'card.yaml'
    path.write_text('limits: >\n  Sees\n  nothing.\n\n  At all.\ntraining_data: none\n')
    assert read_card(path) == {'limits': 'Sees nothing. At all.', 'training_data': 'none'}


@pytest.mark.parametrize(
    ('content', 'reason'),
    [
        ({'limit': 'x'}, "no field 'limit'; did you mean limits?"),
        ({1: 'x'}, 'no field 1'),
        ({'limits': 3}, 'limits of a model card must be a text'),
        ({'limits': ''}, 'must be a text of 1'),
        ({'limits': 'x' * (MAX_CARD_CHARS + 1)}, 'must be a text of 1'),
        ({'limits': 'a\x1b[31m'}, 'printable'),
        (['limits'], 'a model card holds training_data'),
        ('text', 'a model card holds training_data'),
    ],
)
def test_other_content_is_refused(tmp_path, content, reason):
    path = tmp_path / 'card.yaml'
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(ValueError, match=reason.replace('?', r'\?')) as caught:
        read_card(path)
    assert str(caught.value).startswith(f'{path}: ')
    assert '\n' not in str(caught.value) and len(str(caught.value)) < 400


def test_the_packaged_model_has_the_shipped_card():
    pytest.importorskip('panoptic_training')
    card = read_card(find_model_card('city'))
    assert read_info(default_model()).card == card
    assert set(card) == set(CARD_FIELDS)
