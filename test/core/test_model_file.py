# SPDX-License-Identifier: Apache-2.0
"""Metadata and graph of a model file: valid ones are read, others refused in one line."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from tiny_model import tiny_graph, tiny_info

from panoptic_ros.core.labels import Label, LabelSet
from panoptic_ros.core.model_file import (
    ModelFileError,
    info_from_json,
    info_to_json,
    read_info,
    write_model_file,
)

DOCUMENT = json.loads(info_to_json(tiny_info()))


def changed(**values):
    return json.dumps({**DOCUMENT, **values})


def label(**values):
    first, *others = DOCUMENT['labels']
    return [{**first, **values}, *others]


def threshold(**values):
    thresholds = DOCUMENT['thresholds']
    return {**thresholds, 'score_threshold': {**thresholds['score_threshold'], **values}}


def test_metadata_are_equal_after_a_round_trip():
    assert info_from_json(info_to_json(tiny_info())) == tiny_info()


def test_a_file_that_withholds_classes():
    info = tiny_info().with_unknown({'BALL': 0.5})
    assert info_from_json(info_to_json(info)) == info
    assert info.labels.names == ('floor', 'wall', 'ball', 'box', 'unknown')
    assert info.labels.labels[-1].is_thing and info.unknown == {'ball': 0.5}
    assert (info.unknown_id, info.network_labels) == (4, tiny_info().labels)
    assert info.with_unknown({}) == tiny_info()
    assert info.with_unknown({'box': 0.1}).unknown == {'box': 0.1}
    with pytest.raises(ModelFileError, match='by class, in a file whose last class is unknown'):
        info_from_json(json.dumps({**json.loads(info_to_json(info)), 'unknown': {'unknown': 0.5}}))


def test_classes_that_cannot_be_withheld():
    with pytest.raises(ValueError, match="unknown class 'bal'; the classes are: floor, "):
        tiny_info().with_unknown({'bal': 0.5})
    labels = tiny_info().labels
    own = replace(
        tiny_info(), labels=LabelSet((*labels.labels, Label('unknown', True, (0, 0, 0), 9)))
    )
    with pytest.raises(ValueError, match='a class of its own with the name unknown'):
        own.with_unknown({'ball': 0.5})


def test_a_file_without_the_later_entries_is_read():
    later = (
        'calibration',
        'card',
        'config',
        'package_version',
        'precision',
        'recipe_hash',
        'scores',
    )
    old = {name: value for name, value in DOCUMENT.items() if name not in later}
    info = info_from_json(json.dumps(old))
    assert (info.card, info.calibration, info.precision) == ({}, {}, 'fp32')


NAN, INF = float('nan'), float('inf')


@pytest.mark.parametrize(
    ('values', 'reason'),
    [
        ({'mean': [0.5, 0.5]}, 'mean must be three numbers from 0 to 1'),
        ({'mean': ['0.5', '0.5', '0.5']}, 'mean must be'),
        ({'mean': '123'}, 'mean must be'),
        ({'mean': 0.5}, 'not iterable'),
        ({'mean': [0.5, 0.5, 123.7]}, 'mean must be'),
        ({'mean': [0.5, 0.5, -0.1]}, 'mean must be'),
        ({'mean': [0.5, 0.5, NAN]}, 'mean must be'),
        ({'mean': [0.5, 0.5, True]}, 'mean must be'),
        ({'mean': [0.5, 0.5, None]}, 'mean must be'),
        ({'std': [0.2, 0.2, 0]}, 'std must be three numbers over 0'),
        ({'std': [0.2, 0.2, -1]}, 'std must be'),
        ({'std': [0.2, 0.2, INF]}, 'std must be'),
        ({'std': {}}, 'std must be'),
        ({'stride': -1}, 'stride must be a whole number from 1'),
        ({'stride': False}, 'stride must be'),
        ({'stride': True}, 'stride must be'),
        ({'stride': 4.0}, 'stride must be'),
        ({'stride': '4'}, 'stride must be'),
        ({'stride': 0}, 'stride must be'),
        ({'stride': 3}, 'multiples of the stride 3'),
        ({'input_size': [64, 128, 3]}, r'input_size must be \(height, width\)'),
        ({'input_size': [64, -128]}, 'input_size must be'),
        ({'input_size': [64, 2**40]}, 'input_size must be'),
        ({'input_size': [64, True]}, 'input_size must be'),
        ({'input_size': ['64', '128']}, 'input_size must be'),
        ({'input_size': [0, 0]}, 'input_size must be'),
        ({'input_size': None}, 'not iterable'),
        ({'embedding_dim': -1}, 'embedding_dim must be'),
        ({'embedding_dim': '4'}, 'embedding_dim must be'),
        ({'embedding_dim': 10**400}, 'embedding_dim must be'),
        ({'name': 5}, 'name must be a line'),
        ({'name': 'a\nb'}, 'name must be a line'),
        ({'name': 'x' * 501}, 'name must be a line'),
        ({'family': None}, 'family must be a line'),
        ({'config': []}, 'config must be an object'),
        ({'scores': {'pq': '61'}}, "score 'pq' must be a number"),
        ({'scores': {'pq': NAN}}, "score 'pq' must be"),
        ({'scores': [1]}, 'scores must be an object'),
        ({'thresholds': []}, 'has no attribute'),
        ({'thresholds': {'score_threshold': 0.5}}, 'must be a mapping'),
        ({'thresholds': {}}, 'lacks min_area, score_threshold'),
        ({'thresholds': threshold(default=NAN)}, 'default must be a number'),
        ({'thresholds': threshold(maximum=INF)}, 'maximum must be a number'),
        ({'thresholds': threshold(minimum=-(10**400))}, 'minimum must be a number'),
        ({'thresholds': threshold(default='0.5')}, 'default must be a number'),
        ({'thresholds': threshold(default=2)}, 'must lie in 0 to 1'),
        ({'thresholds': threshold(description=1)}, 'description must be a line'),
        ({'labels': {}}, '1 to 255 classes'),
        ({'labels': 3}, 'not iterable'),
        ({'labels': [3]}, 'label 0 must have name'),
        ({'labels': label(category_id=11)}, 'each category_id once'),
        ({'labels': label(name='wall')}, 'each name once'),
        ({'labels': label(name='x' * 501)}, 'a class name must be a line'),
        ({'labels': label(name='\x1b[31m')}, 'a class name must be a line'),
        ({'labels': label(name='a\0b')}, 'a class name must be a line'),
        ({'labels': label(name='\ud800')}, 'a class name must be a line'),
        ({'labels': label(class_id=2)}, 'expected its index'),
        ({'labels': label(is_thing='maybe')}, 'is_thing must be true or false'),
        ({'labels': label(color=[INF, 0, 0])}, 'color must be'),
        ({'labels': label(color='abc')}, 'color must be'),
        ({'labels': label(color=[0, 0, 256])}, 'color must be three numbers'),
        ({'labels': label(category_id=INF)}, 'category_id must be a whole number'),
        ({'colour': 1}, 'unknown entries colour'),
        ({'unknown': []}, 'unknown must be an object of scores'),
        ({'unknown': {'ball': 0.5}}, 'whose last class is unknown'),
        ({'unknown': {'ball': 2}}, 'scores from 0 to 1'),
        ({'unknown': {'ball': NAN}}, 'scores from 0 to 1'),
        ({'unknown': {'ball': True}}, 'scores from 0 to 1'),
        ({'card': []}, 'a model card holds'),
        ({'calibration': []}, 'has no attribute'),
        ({'calibration': {'score': 1}}, 'must be a mapping'),
        ({'calibration': {'score': {'slope': 1}}}, 'unexpected keyword'),
        ({'calibration': {'area': {}}}, 'calibration must be an object of score and confidence'),
        ({'calibration': {'score': {'temperature': 0}}}, 'temperatures from 0.2 to 5'),
        ({'calibration': {'score': {'shift': NAN}}}, 'shifts from -5 to 5'),
        ({'calibration': {'score': {'shift': '1'}}}, 'shifts from -5 to 5'),
        ({'card': {'limit': 'x'}}, 'no field'),
        ({'card': {'limits': 'a\nb'}}, 'printable'),
    ],
)
def test_invalid_metadata_are_refused(values, reason):
    with pytest.raises(ModelFileError, match=reason) as caught:
        info_from_json(changed(**values))
    assert '\n' not in str(caught.value) and len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ('text', 'reason'),
    [
        ('[' * 100_000, 'nested too deeply'),
        ('{"name": ', 'is not JSON'),
        ('[]', 'JSON object'),
        ('null', 'JSON object'),
        ('{}', 'lacks'),
        (' ' * (4 * 2**20 + 1), 'longer than'),
    ],
)
def test_texts_that_are_no_metadata_are_refused(text, reason):
    with pytest.raises(ModelFileError, match=reason):
        info_from_json(text)


VALUE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=3)
    | st.sampled_from([10**400, -1, 2**31]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(DOCUMENT)), VALUE)
def test_any_value_is_accepted_or_refused(name, value):
    try:
        info = info_from_json(changed(**{name: value}))
    except ModelFileError:
        return
    assert info_from_json(info_to_json(info)) == info


def external(name='weight'):
    tensor = TensorProto(
        name=name, dims=[1], data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL
    )
    tensor.external_data.add(key='location', value='../../etc/passwd')
    return tensor


def constant(tensor):
    return helper.make_node('Constant', [], ['c'], value=tensor)


def inner(nodes=(), weights=()):
    output = helper.make_tensor_value_info('c', TensorProto.FLOAT, [1])
    return helper.make_graph(list(nodes), 'inner', [], [output], list(weights))


def branch(graph):
    fine = inner([constant(numpy_helper.from_array(np.float32([1])))])
    return helper.make_node('If', ['valid'], ['unused'], then_branch=fine, else_branch=graph)


def sparse(tensor):
    indices = numpy_helper.from_array(np.int64([0]), 'i')
    return helper.make_sparse_tensor(tensor, indices, [4])


HIDING_PLACES = {
    'weight': lambda m: m.graph.initializer.append(external()),
    'location without the flag': lambda m: m.graph.initializer.append(
        TensorProto(name='w', external_data=external().external_data)
    ),
    'constant': lambda m: m.graph.node.append(constant(external())),
    'list of an attribute': lambda m: m.graph.node.append(
        helper.make_node('Constant', [], ['c'], values=[external()])
    ),
    'branch': lambda m: m.graph.node.append(branch(inner([constant(external())]))),
    'weight of a branch': lambda m: m.graph.node.append(branch(inner((), [external('c')]))),
    'branch of a branch': lambda m: m.graph.node.append(
        branch(inner([branch(inner([constant(external())]))]))
    ),
    'body of a loop': lambda m: m.graph.node.append(
        helper.make_node('Loop', ['', ''], [], body=inner([constant(external())]))
    ),
    'sparse weight': lambda m: m.graph.sparse_initializer.append(sparse(external())),
    'sparse constant': lambda m: m.graph.node.append(
        helper.make_node('Constant', [], ['c'], sparse_value=sparse(external()))
    ),
    'function': lambda m: m.functions.append(
        helper.make_function(
            'own', 'f', [], ['c'], [constant(external())], [helper.make_opsetid('', 18)]
        )
    ),
    'training': lambda m: m.training_info.add().algorithm.initializer.append(external()),
}


@pytest.mark.parametrize('place', HIDING_PLACES)
def test_values_in_other_files_are_refused_anywhere(place, tmp_path):
    info = tiny_info()
    model = tiny_graph(info)
    HIDING_PLACES[place](model)
    path = tmp_path / 'parts.onnx'
    write_model_file(model, info, path)
    with pytest.raises(ModelFileError, match=r'parts\.onnx: the values of .* are in another file'):
        read_info(path)


def test_operators_of_one_engine_are_refused(tmp_path):
    model = tiny_graph(tiny_info())
    model.graph.node.append(
        helper.make_node(
            'EPContext', [], ['c'], domain='com.microsoft', ep_cache_context='/tmp/engine.bin'
        )
    )
    model.opset_import.append(helper.make_opsetid('com.microsoft', 1))
    write_model_file(model, tiny_info(), tmp_path / 'context.onnx')
    with pytest.raises(ModelFileError, match=r"'EPContext' of 'com\.microsoft' is not an ONNX"):
        read_info(tmp_path / 'context.onnx')


def test_functions_of_the_file_itself_are_accepted(tmp_path):
    model = tiny_graph(tiny_info())
    model.functions.append(
        helper.make_function(
            'own',
            'f',
            ['x'],
            ['y'],
            [helper.make_node('Identity', ['x'], ['y'])],
            [helper.make_opsetid('', 18)],
        )
    )
    model.graph.node.append(helper.make_node('f', ['score'], ['c'], domain='own'))
    write_model_file(model, tiny_info(), tmp_path / 'function.onnx')
    assert read_info(tmp_path / 'function.onnx') == tiny_info()


def test_inputs_of_other_types_are_refused(tmp_path):
    model = tiny_graph(tiny_info())
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT
    write_model_file(model, tiny_info(), tmp_path / 'float.onnx')
    with pytest.raises(ModelFileError, match='graph inputs'):
        read_info(tmp_path / 'float.onnx')


def test_the_format_does_not_depend_on_the_name(tiny_model, tmp_path):
    path = tmp_path / 'model.json'  # onnx.load would read it as JSON
    path.write_bytes(tiny_model.read_bytes())
    assert read_info(path) == tiny_info()
