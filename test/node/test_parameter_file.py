# SPDX-License-Identifier: Apache-2.0
"""Parameter files of the node."""

import pytest

from panoptic_ros.node.parameter_file import is_for, read_parameters
from panoptic_ros.node.parameters import BY_NAME


def block(text: str, node: str = '/**') -> str:
    return f'{node}:\n  ros__parameters: {text}\n'


def changed(tmp_path, text: str) -> dict:
    """Return the values that a file sets to something else than the default."""
    path = tmp_path / 'node.yaml'
    path.write_text(text, encoding='utf-8')
    values = read_parameters(path)
    assert list(values) == list(BY_NAME)
    return {name: value for name, value in values.items() if value != BY_NAME[name].default}


RATE = '{max_rate_hz: 4}'


@pytest.mark.parametrize(
    'text',
    [
        block(RATE),
        block(RATE, '/*'),
        block(RATE, 'panoptic_node'),
        block(RATE, '/robot/panoptic_node'),
        block(RATE, '/**/panoptic_node'),
        'robot:\n  panoptic_node:\n    ros__parameters: {max_rate_hz: 4}\n',  # a namespace
        '\ufeff' + block(RATE),  # as Windows editors save
        block('{max_rate_hz: 9}') + block(RATE, 'panoptic_node'),  # the last one counts
        block('{classes: {include: [car]}}', 'other_node') + block(RATE),
        block(
            '{max_rate_hz: 4, use_sim_time: true, qos_overrides: '
            '{/image: {subscription: {depth: 3}}}}'
        ),  # ROS's own
    ],
)
def test_a_file_for_the_node_is_read(tmp_path, text):
    assert changed(tmp_path, text) == {'max_rate_hz': 4.0}


@pytest.mark.parametrize(
    'text', [block(''), block('{classes: {include: []}}'), block("{classes: {include: ['']}}")]
)
def test_nothing_given_leaves_the_defaults(tmp_path, text):
    assert changed(tmp_path, text) == {}


@pytest.mark.parametrize(
    ('text', 'reason'),
    [
        # one that is not a parameter file of the node
        ('', 'is empty, expected a parameter file'),
        ('[]', 'is not a parameter file of the node: expected `/\\*\\*:` or `panoptic_node:`'),
        ('hello', 'is not a parameter file of the node'),
        ('/**: {max_rate_hz: 4.0}', 'is not a parameter file of the node'),
        (block(RATE, 'other_node'), 'it has parameters of /other_node$'),
        (block(RATE, '/panoptic_node/left'), 'it has parameters of /panoptic_node/left$'),
        (block('[1]'), r'ros__parameters must hold names and values, got \[1\]'),
        # YAML that is refused
        (block('&a {tracker: *a}'), 'refers to itself'),
        ('[' * 5000, 'nested'),
        ('a: 1\n---\nb: 2\n', 'another document'),
        # names
        (
            block('{classes: {inclde: [car]}, Model: x}'),
            r'classes.inclde \(did you mean classes.include\?\), Model \(did you mean model\?\)$',
        ),
        (block('{max_rate_hz: {value: 4}}'), r'max_rate_hz.value \(did you mean max_rate_hz\?\)'),
        (block('{tracker: 4}'), 'tracker '),
        (block('{tracker: {gate: 0.5}}'), r'tracker.gate \(now called tracker.match_threshold\)$'),
        (block('{1: 2, null: 3}'), '1, None'),
        # values
        (
            block('{classes: {include: car}}'),
            r"classes.include must be a list of strings, got 'car'; as a list it is \[car\]$",
        ),
        (
            block('{classes: {include: true}}'),
            'classes.include must be a list of strings, got True',
        ),
        (block('{classes: {exclude: 0}}'), 'classes.exclude must be a list of strings, got 0'),
        (block('{cameras: [[front]]}'), r"cameras must be a list of strings, got \[\['front'\]\]"),
        (block('{autostart: 1}'), 'autostart must be true or false, got 1'),
        (block('{max_rate_hz: yes}'), 'max_rate_hz must be a number from 0 to 1000, got True'),
        (block('{max_rate_hz: .nan}'), 'got nan'),
        (block('{max_rate_hz: -.inf}'), 'got -inf'),
        (block('{max_rate_hz: [4]}'), r'got \[4\]'),
        (block('{model: null}'), 'model must be a string, got None'),
        (block('{model: 2026-11-29}'), 'model must be a string, got datetime.date'),
        (
            block('{score_threshold: -0.5}'),
            r"must be -1 \(the model's own\) or a number from 0 to 1, got -0.5",
        ),
    ],
)
def test_what_is_wrong_with_a_file_is_one_line(tmp_path, text, reason):
    with pytest.raises(ValueError, match=reason) as caught:
        changed(tmp_path, text)
    assert str(caught.value).startswith(str(tmp_path / 'node.yaml'))
    assert '\n' not in str(caught.value)


def test_messages_stay_short(tmp_path):
    with pytest.raises(ValueError, match=r'p4, 995 more$') as many:
        changed(tmp_path, block('{' + ', '.join(f'p{i}: 1' for i in range(1000)) + '}'))
    with pytest.raises(ValueError, match='got 999999') as huge:
        changed(tmp_path, block('{max_rate_hz: ' + 4000 * '9' + '}'))
    assert max(len(str(many.value)), len(str(huge.value))) < 400


def test_a_folder_and_a_missing_file_are_named(tmp_path):
    with pytest.raises(IsADirectoryError, match='is a folder, expected a parameter file'):
        read_parameters(tmp_path)
    with pytest.raises(FileNotFoundError, match=r'no parameter file at .*none\.yaml'):
        read_parameters(tmp_path / 'none.yaml')


@pytest.mark.parametrize(
    ('pattern', 'node', 'expected'),
    [
        ('/**', '/panoptic_node', True),
        ('/**', '/a/b/panoptic_node', True),
        ('/*', '/panoptic_node', True),
        ('/*', '/a/panoptic_node', False),  # a star is one name
        ('/*/panoptic_node', '/a/panoptic_node', True),
        ('/**/panoptic_node', '/panoptic_node', True),
        ('/panoptic_node', '/a/panoptic_node', False),
        ('/panoptic.node', '/panopticxnode', False),
    ],
)
def test_names_of_nodes_match_as_in_ros(pattern, node, expected):
    assert is_for(pattern, node) == expected
