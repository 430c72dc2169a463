# SPDX-License-Identifier: Apache-2.0
"""Files, outputs and classes that cannot be wrapped: one line that says why."""

import os
import re

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from plain_networks import SIZE, planted, write_classes, write_network

from panoptic_ros.cli.main import main
from panoptic_ros.core.model_file import MAX_FILE_BYTES
from panoptic_ros.core.resources import default_model
from panoptic_training.plain_onnx import loading
from panoptic_training.plain_onnx.classes import read_names
from panoptic_training.plain_onnx.loading import load
from panoptic_training.plain_onnx.part import Source, read_part
from panoptic_training.plain_onnx.source import InputSettings, read_network
from panoptic_training.plain_onnx.wrap import wrap

NAMES = {'names': "{0: 'car', 1: 'dog', 2: 'person'}"}


def outputs(seed=0):
    box, prob, coefficients, maps = planted(seed=seed)
    return {
        'output0': np.concatenate([box, prob, coefficients], axis=1).T[None],
        'output1': maps[None],
    }


def network(folder, given=None, **settings):
    settings = {'metadata': NAMES, **settings}
    return write_network(folder / 'net.onnx', given or outputs(), **settings)


def edited(folder, change, **settings):
    """A network after a change of its protobuf."""
    path = network(folder, **settings)
    model = onnx.load(path, load_external_data=False)
    change(model)
    path.write_bytes(model.SerializeToString())
    return path


def refused(path, message, form='yolo-seg', classes=None, settings=None, things=()):
    """Check the error of a file: one line, which names the file."""
    with pytest.raises((ValueError, OSError)) as caught:
        read_part(Source(path, form, classes, things, settings or InputSettings()))
    text = str(caught.value)
    assert re.search(message, text), text
    assert str(path) in text and '\n' not in text and text.isprintable() and len(text) < 900
    return text


def test_what_is_no_onnx_file(tmp_path):
    path = tmp_path / 'net.onnx'
    refused(path, 'no ONNX file at')
    path.write_bytes(b'')
    refused(path, 'is empty, expected an ONNX file')
    path.write_bytes(b'\x89PNG' + bytes(50))
    refused(path, 'is a PNG image, expected an ONNX file')
    path.write_bytes(b'hello world, this is no protobuf')
    refused(path, 'is not an ONNX file')
    whole = network(tmp_path).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refused(path, 'is not an ONNX file')
    refused(default_model(), 'is a model file of this package already')
    with path.open('wb') as file:
        os.truncate(file.fileno(), MAX_FILE_BYTES)  # takes no room on the disk
    refused(path, f'has {MAX_FILE_BYTES} bytes')


def test_custom_operators(tmp_path):
    def change(model):
        model.graph.node[0].domain = 'com.example'

    refused(edited(tmp_path, change), "of 'com.example' is not an ONNX operator; export the netw")


@pytest.mark.parametrize(
    ('given', 'form', 'found'),
    [
        (
            {'output0': np.zeros((1, 84, 50), np.float32)},
            'yolo-seg',
            r'output0 \(1, 84, 50\) float32',
        ),
        (
            {name: value.astype(np.int64) for name, value in outputs().items()},
            'yolo-seg',
            r'output0 \(1, 13, 24\) int64, output1 \(1, 6, 16, 24\) int64',
        ),
        (outputs(), 'semantic', r'expected one output: .*it may be of --format yolo-seg'),
        (outputs(), 'rf-detr-seg', r'expected floats \(1, N, 4\), .*--format yolo-seg'),
        ({'out': np.zeros((1, 5, 16, 24), np.float32)}, 'queries', 'may be of --format semantic'),
        (
            {'out': np.zeros((1, 5, 16, 16), np.float32)},
            'semantic',
            r'out \(1, 5, 16, 16\) float32',
        ),
        ({'out': np.zeros((2, 5, 16, 24), np.float32)}, 'semantic', r'out \(2, 5, 16, 24\)'),
    ],
)
def test_outputs_of_another_layout(tmp_path, given, form, found):
    text = refused(network(tmp_path, given), f'is not of the format {form}', form)
    assert 'expected' in text and re.search(found, text), text


def test_an_unknown_format_names_the_known_ones(tmp_path):
    with pytest.raises(ValueError, match=r"unknown format 'yolo'.*yolo-seg-end2end, rf-detr"):
        read_part(Source(network(tmp_path), 'yolo'))


def test_values_that_do_not_fit_the_format(tmp_path):
    given = outputs()
    given['output0'][0, 4:7] += 2  # logits, as of a graph without the last sigmoid
    refused(network(tmp_path, given), 'scores must lie in 0 to 1')
    given['output0'][0, 4] = np.inf
    refused(network(tmp_path, given), 'has NaN or infinity')
    # One class of YOLOv5 has the shape of the end-to-end layout, but probabilities for classes.
    table = np.concatenate([given['output0'][0, :4].T, np.full((24, 2), 0.5), np.ones((24, 6))], 1)
    given = {'output0': np.float32(table)[None], 'output1': given['output1']}
    refused(network(tmp_path, given), 'must be a class id, a whole number', 'yolo-seg-end2end')


@pytest.mark.parametrize(
    ('settings', 'size', 'message'),
    [
        ({'size': ('h', 'w')}, None, 'takes images of any size; choose one with --input-size H W'),
        (
            {'size': ('h', 'w'), 'metadata': {'imgsz': '[1, 2, 3]'}},
            None,
            r'imgsz must be \[height',
        ),
        ({'size': ('h', 96)}, (64, 128), r'takes images of anyx96 px, got --input-size 64 128'),
        ({}, (128, 192), r'takes images of 64x96 px, got --input-size 128 192'),
        ({'size': ('h', 'w')}, (64, 10000), 'sides of the input must be 1 to 8192 px'),
        ({'batch': 4}, None, r'one input, an image \(1, 3, H, W\).*images \(4, 3, 64, 96\) float'),
    ],
)
def test_input_sizes(tmp_path, settings, size, message):
    refused(network(tmp_path, **settings), message, settings=InputSettings(size))


def test_open_sizes_come_from_the_metadata(tmp_path):
    metadata = {**NAMES, 'imgsz': f'[{SIZE[0]}, {SIZE[1]}]'}
    path = network(tmp_path, size=('h', 'w'), batch='n', metadata=metadata)
    assert read_network(path, SIZE).input_size == SIZE
    model = read_network(path).model
    (given,) = model.graph.input
    assert [d.dim_value for d in given.type.tensor_type.shape.dim] == [1, 3, *SIZE]


def test_inputs_that_are_no_single_image(tmp_path):
    def second(model):
        extra = helper.make_tensor_value_info('more', TensorProto.FLOAT, [1])
        model.graph.input.append(extra)

    refused(
        edited(tmp_path, second), r'one input, .* got images \(1, 3, 64, 96\) float, more \(1\)'
    )

    def integers(model):
        model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT32

    refused(edited(tmp_path, integers), r'got images \(1, 3, 64, 96\) int32')

    def nothing(model):
        del model.graph.input[:]

    refused(edited(tmp_path, nothing), 'got none')


@pytest.mark.parametrize('padded', [False, True])
def test_outputs_whose_size_depends_on_the_image(tmp_path, padded):
    """Rows of a selection: their number depends on the image, unless they are padded."""

    def change(model):
        graph = model.graph
        for name, value in (('cut', [1]), ('to', [24]), ('axis', [2])):
            graph.initializer.append(numpy_helper.from_array(np.array(value), name))
        zero = numpy_helper.from_array(np.zeros((1, 13, 24), np.float32), 'none')
        graph.initializer.append(zero)
        rename = next(node for node in graph.node if 'output0' in node.output)
        rename.output[:] = ['all']
        condition = numpy_helper.from_array(np.arange(24) % 2 == 0, 'some')
        graph.initializer.append(condition)
        graph.node.append(helper.make_node('Compress', ['all', 'some'], ['kept'], axis=2))
        if padded:
            graph.node.append(helper.make_node('Concat', ['kept', 'none'], ['long'], axis=2))
            graph.initializer.append(numpy_helper.from_array(np.array([0]), 'from'))
            parts = ['long', 'from', 'to', 'axis']
            graph.node.append(helper.make_node('Slice', parts, ['output0']))
        else:
            graph.node.append(helper.make_node('Identity', ['kept'], ['output0']))
            graph.output[0].type.tensor_type.shape.dim[2].dim_param = 'rows'

    path = edited(tmp_path, change)
    if padded:
        assert read_part(Source(path, 'yolo-seg')).samples[0].shape == (1, 13, 24)
    else:
        refused(path, r'the size of output output0 \(1, 13, \?\) float depends .* \(Compress\)')


@pytest.mark.parametrize(
    ('names', 'message'),
    [
        ("{0: 'car', 1: 'dog'}", 'names 2 classes, and its outputs have 3'),
        ("__import__('os').system('touch {canary}')", 'names must map 0, 1'),
        ("{0: __import__('os').mkdir('{canary}')}", 'names 1 classes'),
        ("!!python/object/apply:os.mkdir ['{canary}']", 'is not YAML'),
        ("{0: 'car', 2: 'dog', 3: 'cow'}", 'names must map 0, 1'),
        ('{0: 1, 1: 2, 2: 3}', 'names must map 0, 1'),
        ('[' * 5000, 'is not YAML'),
        ('{0: ' * 100, 'is not YAML'),
        ('[a, ' + 'b, ' * 40000 + ']', 'longer than 65536 characters'),
        (str(dict(enumerate(map(str, range(300))))), 'names 300 classes'),
        ('', 'does not name its 3 classes'),
        ('["car", "\\e[2J", "dog"]', 'names must map'),
        ('["car", "a\\nb", "dog"]', 'names must map'),
    ],
)
def test_hostile_names_are_text_or_refused(tmp_path, names, message):
    canary = tmp_path / 'canary'
    text = names.replace('{canary}', str(canary))
    path = network(tmp_path, metadata={'names': text})
    refused(path, message)
    assert not canary.exists()


def test_names_that_ultralytics_writes(tmp_path):
    names = {0: "driver's dog", 1: 'say "x"', 2: 'a: b #c'}
    path = network(tmp_path, metadata={'names': str(names)})
    assert read_names(read_network(path)) == list(names.values())


def test_class_files_that_do_not_fit(tmp_path):
    bare = network(tmp_path, metadata={})
    refused(bare, 'does not name its 3 classes; give a class file')
    classes = write_classes(tmp_path / 'c.yaml', (0, 'car', 'thing'), (3, 'dog', 'thing'))
    refused(bare, 'a class with id 3, and .* has 3 classes with ids 0 to 2', classes=classes)
    classes = write_classes(tmp_path / 'c.yaml', (0, 'road', 'stuff'))
    refused(bare, "'road' is stuff in its class file", classes=classes)
    refused(bare, 'leave out --things', things=('car',))
    classes = write_classes(tmp_path / 'c.yaml', (2, 'car', 'thing'))
    part = read_part(Source(bare, 'yolo-seg', classes))
    assert part.classes.class_of_channel == (-1, -1, 0)


def test_a_mean_for_another_scale(tmp_path):
    settings = InputSettings(mean=(123.0, 117.0, 104.0))
    with pytest.raises(
        ValueError, match='--scale says how bright white is, 1 for pixels up to 255'
    ):
        read_part(Source(network(tmp_path), 'yolo-seg', input=settings))
    bytes_in = network(tmp_path, input_type=TensorProto.UINT8)
    refused(bytes_in, 'normalises itself', settings=InputSettings(mean=(0.5, 0.5, 0.5)))


def external(folder, location, **fields):
    """A network whose first weight is in another file."""

    def change(model):
        tensor = next(t for t in model.graph.initializer if t.name == 'output1_0')
        (folder / 'weights.bin').write_bytes(tensor.raw_data)
        tensor.ClearField('raw_data')
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in {'location': location, **fields}.items():
            tensor.external_data.add(key=key, value=str(value))

    return edited(folder, change)


def test_weights_in_a_file_beside_it_are_read(tmp_path):
    before = numpy_helper.to_array(load(network(tmp_path)).graph.initializer[-1])
    model = load(external(tmp_path, 'weights.bin'))
    np.testing.assert_array_equal(numpy_helper.to_array(model.graph.initializer[-1]), before)
    assert not any(tensor.external_data for tensor in model.graph.initializer)


@pytest.mark.parametrize(
    ('location', 'fields', 'message'),
    [
        ('../secret.bin', {}, 'outside the folder'),
        ('/etc/passwd', {}, 'outside the folder'),
        ('link.bin', {}, 'outside the folder'),
        ('', {}, 'outside the folder'),
        ('absent.bin', {}, "'absent.bin', which is not beside it"),
        ('weights.bin', {'length': 10**12}, 'needs 1000000000000 bytes of weights.bin'),
        ('weights.bin', {'offset': 10**12}, 'which has -'),
        ('weights.bin', {'offset': -5}, 'non-negative'),
        ('weights.bin', {'length': 8}, 'is damaged'),
    ],
)
def test_weights_elsewhere_are_refused(tmp_path, location, fields, message):
    folder = tmp_path / 'model'
    folder.mkdir()
    (tmp_path / 'secret.bin').write_bytes(bytes(10000))
    (folder / 'link.bin').symlink_to(tmp_path / 'secret.bin')
    refused(external(folder, location, **fields), message)


def test_many_weights_in_one_large_file_are_refused_by_their_sum(tmp_path, monkeypatch):
    monkeypatch.setattr(loading, 'MAX_FILE_BYTES', 10000)
    refused(external(tmp_path, 'weights.bin'), 'graph and weights take more than 9999 bytes')


def test_networks_that_do_not_fit_together(tmp_path):
    one, two, three = (tmp_path / str(i) for i in range(3))
    for folder in (one, two, three):
        folder.mkdir()
    things = Source(network(one), 'yolo-seg')
    output = tmp_path / 'x.onnx'
    with pytest.raises(ValueError, match='one of instances and one semantic, got'):
        wrap([things, things], output, name='x')
    stuff = write_network(
        two / 'net.onnx',
        {'out': np.zeros((1, 3, 16, 16), np.float32)},
        size=(64, 64),
        metadata=NAMES,
    )
    with pytest.raises(ValueError, match='inputs of one size, got 64x96 and 64x64 px'):
        wrap([things, Source(stuff, 'semantic')], output, name='x')
    with pytest.raises(ValueError, match='--set: mean follows from the networks'):
        wrap([things], output, name='x', mean=(0, 0, 0))
    with pytest.raises(ValueError, match="unknown key 'candidate'"):
        wrap([things], output, name='x', candidate=3)
    assert not output.exists()


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--from', 'onnx:a.onnx'], 'onnx:a.onnx needs --format, the layout of its outputs'),
        (['--from', 'onnx:', '--format', 'semantic'], 'or onnx:<file>, got onnx:'),
        (['--from', 'hf:x', '--format', 'semantic'], '--format goes with --from onnx:FILE'),
        (['--from', 'hf:x', '--from', 'hf:y'], 'several --from are for networks in ONNX files'),
        (['--model', 'a.onnx', '--scale', '1'], '--scale goes with --from'),
        (
            ['--format', 'semantic', '--from', 'onnx:a', '--format', 'queries'],
            '--format is given twice for one --from',
        ),
        (['--from', 'onnx:gone.onnx', '--format', 'semantic'], 'no ONNX file at gone.onnx'),
    ],
)
def test_flags_that_do_not_fit_together(capsys, tmp_path, arguments, message):
    assert main(['export', *arguments, '-o', str(tmp_path / 'x.onnx')]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert message in error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('recursive', [False, True])
def test_functions_of_the_file_are_inlined_or_refused(tmp_path, recursive):
    def change(model):
        inner = helper.make_node('Own' if recursive else 'Identity', ['x'], ['y'])
        inner.domain = 'own' if recursive else ''
        imports = [helper.make_opsetid('', 17), helper.make_opsetid('own', 1)]
        function = helper.make_function('own', 'Own', ['x'], ['y'], [inner], imports)
        model.functions.append(function)
        model.opset_import.append(imports[1])
        node = next(node for node in model.graph.node if 'output1' in node.output)
        node.output[:] = ['before']
        call = helper.make_node('Own', ['before'], ['output1'], domain='own')
        model.graph.node.append(call)

    path = edited(tmp_path, change)
    if recursive:
        refused(path, 'its functions are damaged: .*recursive')
    else:
        part = read_part(Source(path, 'yolo-seg'))
        assert {node.domain for node in part.network.model.graph.node} == {''}
        np.testing.assert_array_equal(part.samples[1], outputs()['output1'])
