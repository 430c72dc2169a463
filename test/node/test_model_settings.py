# SPDX-License-Identifier: Apache-2.0
import pytest
from tiny_model import tiny_info

from panoptic_ros.node.model_settings import check_for_model
from panoptic_ros.node.parameters import PARAMETERS

SETTINGS = {parameter.name: parameter.default for parameter in PARAMETERS}


@pytest.mark.parametrize(
    ('include', 'exclude', 'left'),
    [
        ((), (), True),
        (('ball',), ('floor',), True),
        ((), ('floor', 'wall', 'ball'), True),
        ((), ('floor', 'wall', 'ball', 'box'), False),
        (('ball',), ('ball',), False),
        (('ball', 'box'), ('box', 'ball', 'floor'), False),
    ],
)
def test_some_class_must_be_left(include, exclude, left):
    settings = SETTINGS | {'classes.include': include, 'classes.exclude': exclude}
    if left:
        check_for_model(settings, tiny_info())
        return
    with pytest.raises(ValueError, match='leave no class; the model has floor, wall, ball, box'):
        check_for_model(settings, tiny_info())
