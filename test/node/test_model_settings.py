# SPDX-License-Identifier: Apache-2.0
import pytest
from tiny_model import tiny_info

from panoptic_ros.node.model_settings import check_for_model, check_settings
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


def test_an_extrinsic_is_checked_before_it_is_used():
    check_settings(SETTINGS | {'cloud.extrinsic': '0.1 0 -0.2 0 0 0 1'})
    with pytest.raises(ValueError, match=r'cloud.extrinsic must be seven numbers'):
        check_settings(SETTINGS | {'cloud.extrinsic': '0.1 0 -0.2'})
