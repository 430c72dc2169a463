# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of transformers: compared with the library's results, and as model files."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from graphs import (
    assert_as_good_as_autocast,
    assert_same,
    assert_tensorrt_rtx_builds,
    query_values,
    random_image,
    run_autocast,
    run_eager,
    run_onnx,
    write_half,
)
from scipy import ndimage
from small_transformers import (
    CLASSES,
    NAMES,
    PROCESSORS,
    QUERIES,
    THINGS,
    make_config,
    write_tokenizer,
)

from panoptic_ros.cli.export import load_model
from panoptic_ros.cli.main import main
from panoptic_ros.core.model_file import read_info
from panoptic_ros.models.huggingface.config import ARCHITECTURES
from panoptic_ros.models.huggingface.network import ClassMaps, HuggingFaceMaps, _ClearByMask
from panoptic_ros.models.parts.queries.decode import decode
from panoptic_ros.models.registry import build
from panoptic_training.huggingface.checkpoint import open_transformers

transformers = pytest.importorskip('transformers')

IS_THING = torch.tensor([name in THINGS for name in NAMES])
OVERLAP = 0.313
"""Random masks overlap much; at the library's 0.8 few segments would be left. No share of two
areas here is exactly this."""
STUFF = {i for i, name in enumerate(NAMES) if name not in THINGS}


def random_maps(seed, image_size=(64, 96), queries=15, classes=6):
    """Queries with smooth masks at stride 4, some of `nothing`, several of one stuff class.

    `classes` is the number of class logits, by default those of NAMES and `nothing`.
    """
    generator = torch.Generator().manual_seed(seed)
    masks = torch.nn.functional.interpolate(
        torch.randn(1, queries, 4, 4, generator=generator) * 6,
        size=[n // 4 for n in image_size],
        mode='bicubic',
    )
    logits = torch.randn(1, queries, classes, generator=generator) * 5
    embedding = torch.randn(1, queries, 4, generator=generator)
    return HuggingFaceMaps(logits, masks, embedding, image_size)


def theirs(kind, maps, target):
    """The library's result for a target (height, width): segment map, and what segments are."""
    row = ARCHITECTURES[kind]
    outputs = SimpleNamespace(
        **{row.class_logits: maps.class_logits, row.mask_logits: maps.mask_logits}
    )
    settings, stuff = {}, {'label_ids_to_fuse': STUFF}
    if kind.startswith('eomt'):
        height, width = maps.image_size
        settings = {'size': {'shortest_edge': height, 'longest_edge': width}}
        stuff = {'stuff_classes': sorted(STUFF)}
    processor = getattr(transformers, PROCESSORS[kind])(**settings)
    result = processor.post_process_panoptic_segmentation(
        outputs, target_sizes=[target], threshold=0.5, overlap_mask_area_threshold=OVERLAP, **stuff
    )[0]
    offset = int(row.own_size != '')  # EoMT's segments count from 0, and void is -1
    return (result['segmentation'].numpy() + offset).clip(0), [
        {**info, 'id': info['id'] + offset} for info in result['segments_info']
    ]


def reuses_an_id(infos):
    """Return whether the library gave an id to two segments, see `query_decode`."""
    of_id = {}
    for info in infos:
        of_id.setdefault(info['id'], []).append(info)
    return any(
        len(same) > 1
        and not (
            all(info['was_fused'] for info in same)
            and len({info['label_id'] for info in same}) == 1
        )
        for same in of_id.values()
    )


@pytest.mark.parametrize('stride', [1, 4])
@pytest.mark.parametrize('kind', QUERIES)
def test_decoding_equals_the_librarys(checkpoint, kind, stride, monkeypatch):
    module, _ = open_transformers(str(checkpoint(kind)), THINGS)
    module = build('huggingface', module.labels, **{**module.config_dict(), 'stride': stride})
    low = {'score_threshold': torch.tensor(0.5), 'overlap_threshold': torch.tensor(OVERLAP)}
    height, width = size = (64, 64) if module.architecture.own_size else (64, 96)
    image = torch.zeros(height, width, 3, dtype=torch.uint8)
    stuff_seen = things_seen = compared = 0
    for seed in range(12):
        maps = random_maps(seed, size, classes=len(module.class_of_logit))
        monkeypatch.setattr(module, 'maps', lambda image, maps=maps: maps)
        their_map, infos = theirs(kind, maps, (height // stride, width // stride))
        if reuses_an_id(infos):
            continue
        compared += 1
        segments = {}
        for info in infos:
            segments.setdefault(info['id'], (info['label_id'], info['score']))
        ours = module(image, **{**module.default_thresholds(), **low})
        assert ours.segment_map.shape == their_map.shape
        pairs = {
            (int(a), int(b))
            for a, b in zip(ours.segment_map.flatten(), their_map.flatten(), strict=True)
        }
        assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})
        assert (0, 0) in pairs or not {0} & {a for a, _ in pairs}
        for a, b in pairs - {(0, 0)}:
            assert (
                int(ours.class_id[a - 1]),
                pytest.approx(float(ours.score[a - 1]), abs=1e-5),
            ) == segments[b]
            stuff_seen += segments[b][0] in STUFF
            things_seen += segments[b][0] not in STUFF
            # The embedding is that of the first query that the row stands for.
            assert any(
                torch.equal(ours.embedding[a - 1], row)
                for row in torch.nn.functional.normalize(maps.embedding[0], dim=1)
            )
    assert compared > 5
    assert stuff_seen > 5
    assert things_seen > 5


def test_segments_stay_apart_where_the_library_reuses_an_id():
    # Queries: stuff, thing, the same stuff, thing; each wins a quarter of the image.
    masks = torch.full((4, 2, 2), -9.0)
    masks.flatten(1).fill_diagonal_(9.0)
    labels = [0, 2, 0, 3]
    logits = 9.0 * torch.nn.functional.one_hot(torch.tensor(labels), len(NAMES) + 1)
    maps = HuggingFaceMaps(logits[None], masks[None], torch.ones(1, 4, 4), (8, 8))
    their_map, infos = theirs('maskformer', maps, (2, 2))
    assert reuses_an_id(infos)
    assert their_map.tolist() == [[1, 2], [1, 2]]
    thresholds = {
        'score_threshold': 0.5,
        'mask_threshold': 0.5,
        'overlap_threshold': 0.8,
        'min_area': 0.0,
        'min_stuff_area': 0.0,
    }
    ours = decode(
        logits,
        masks.sigmoid(),
        torch.ones(4, 4),
        IS_THING,
        4,
        True,
        {name: torch.tensor(value) for name, value in thresholds.items()},
    )
    assert ours.semantic_map.tolist() == [[0, 2], [0, 3]]
    assert len(ours.segment_map.unique()) == 3


def test_no_query_above_the_threshold_gives_an_empty_image():
    maps = random_maps(0)
    thresholds = dict.fromkeys(
        ('mask_threshold', 'overlap_threshold', 'min_area', 'min_stuff_area'), torch.tensor(0.0)
    )
    ours = decode(
        maps.class_logits[0],
        maps.mask_logits[0].sigmoid(),
        torch.ones(15, 4),
        IS_THING,
        4,
        True,
        {**thresholds, 'score_threshold': torch.tensor(1.0)},
    )
    assert not ours.segment_map.any()
    assert not ours.valid.any()


@pytest.mark.parametrize('stride', [1, 4])
def test_instances_equal_the_librarys(checkpoint, stride, monkeypatch):
    module, _ = open_transformers(str(checkpoint('rf_detr')))
    assert module.labels.is_thing.all()
    module = build('huggingface', module.labels, **{**module.config_dict(), 'stride': stride})
    compared = 0
    for seed in range(12):
        maps = random_maps(seed, (64, 64), classes=len(NAMES))
        maps = maps._replace(class_logits=maps.class_logits - 5)
        monkeypatch.setattr(module, 'maps', lambda image, maps=maps: maps)
        outputs = SimpleNamespace(logits=maps.class_logits, pred_masks=maps.mask_logits)
        their = transformers.RfDetrImageProcessor().post_process_instance_segmentation(
            outputs, target_sizes=[(64 // stride, 64 // stride)]
        )[0]
        ours = module(torch.zeros(64, 64, 3, dtype=torch.uint8), **module.default_thresholds())
        rows = torch.nonzero(ours.valid)[:, 0].tolist()  # both are in the order of the scores
        assert len(rows) == len(their['segments_info'])
        renumbered = torch.zeros_like(ours.segment_map)
        for row, info in zip(rows, their['segments_info'], strict=True):
            renumbered[ours.segment_map == row + 1] = info['id']
            assert int(ours.class_id[row]) == info['label_id']
            assert float(ours.score[row]) == pytest.approx(info['score'], abs=1e-5)
            compared += 1
        assert torch.equal(renumbered, their['segmentation'].clamp(min=0))
        query = maps.class_logits.amax(dim=2).argmax()
        best = torch.nn.functional.normalize(maps.embedding[0, query], dim=0)
        torch.testing.assert_close(ours.embedding[0], best)
    assert compared > 20


@pytest.mark.parametrize('stride', [1, 4])
def test_classes_equal_the_librarys(checkpoint, stride, monkeypatch):
    module, _ = open_transformers(str(checkpoint('segformer')), THINGS)
    module = build('huggingface', module.labels, **{**module.config_dict(), 'stride': stride})
    logits = random_maps(0, (128, 192), queries=len(NAMES)).mask_logits
    maps = ClassMaps(logits, (128, 192))
    monkeypatch.setattr(module, 'maps', lambda image: maps)
    expected = transformers.SegformerImageProcessor().post_process_semantic_segmentation(
        SimpleNamespace(logits=logits), [(128 // stride, 192 // stride)]
    )[0]
    thresholds = {**module.default_thresholds(), 'min_area': torch.tensor(0.0)}
    ours = module(torch.zeros(128, 192, 3, dtype=torch.uint8), **thresholds)
    assert torch.equal(ours.semantic_map, expected.to(torch.uint8))
    number = 0
    for i, name in enumerate(NAMES):
        mask = expected.numpy() == i
        parts, count = ndimage.label(mask) if name in THINGS else (mask.astype(int), 1)
        for k in range(1, count + 1):
            [row] = np.unique(ours.segment_map.numpy()[parts == k]) - 1
            assert int(ours.area[row]) == (parts == k).sum()
            assert int(ours.class_id[row]) == i
            number += 1
    assert int(ours.valid.sum()) == number > len(NAMES)
    prob = torch.nn.functional.interpolate(logits, size=expected.shape, mode='bilinear').softmax(
        dim=1
    )
    np.testing.assert_allclose(ours.confidence, 255 * prob.amax(dim=1)[0], atol=1.01)


def test_small_components_are_void(checkpoint, monkeypatch):
    module, _ = open_transformers(str(checkpoint('segformer')), THINGS)
    classes = torch.zeros(16, 16, dtype=torch.long)
    classes[0, 0] = NAMES.index('sky')  # stuff may be small
    classes[2:6, 2:6] = classes[8:11, 8:13] = NAMES.index('car')  # 16 and 15 cells of 16 px
    logits = torch.nn.functional.one_hot(classes, len(NAMES)).permute(2, 0, 1)[None].float()
    monkeypatch.setattr(module, 'maps', lambda image: ClassMaps(logits, (64, 64)))
    ours = module(torch.zeros(64, 64, 3, dtype=torch.uint8), **module.default_thresholds())
    assert float(module.default_thresholds()['min_area']) == 256
    classes[8:11, 8:13] = 255
    assert torch.equal(ours.semantic_map, classes.to(torch.uint8))


def test_semantic_checkpoints_say_what_things_are(checkpoint, caplog):
    module, _ = open_transformers(str(checkpoint('segformer')), THINGS)
    assert 'things are the connected components of their class' in module.embedding_kind
    [record] = caplog.records
    assert record.getMessage().startswith('warning: segformer predicts classes and no instances')


@pytest.mark.parametrize('kind', CLASSES)
def test_module_gives_the_checkpoints_own_outputs(checkpoint, kind):
    row = ARCHITECTURES[kind]
    module, size = open_transformers(str(checkpoint(kind)), THINGS)
    assert size == ((64, 64) if row.own_size else None)
    assert [label.name for label in module.labels.labels if label.is_thing] == list(THINGS)
    original = (
        getattr(transformers, CLASSES[kind])
        .from_pretrained(checkpoint(kind), attn_implementation='eager')
        .eval()
    )
    if kind.startswith('eomt'):  # at the end of its training no attention is masked any more
        original.attn_mask_probs.zero_()
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 255
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ([0.5, 0.4, 0.3], [0.2, 0.3, 0.25]))
    # MobileViT's processor does not normalise unless it is told to, and gives BGR.
    pixels = (image / 255).flip(1) if 'mobilevit' in kind else (image / 255 - mean) / std
    task = {'task_inputs': module.task} if kind == 'oneformer' else {}
    with torch.no_grad():
        expected = original(pixels[:, None] if row.is_video else pixels, **task)
        ours = module.maps(image)
    outputs = {row.class_logits: ours.class_logits}
    if row.decoding != 'classes':
        outputs[row.mask_logits] = ours.mask_logits
        assert ours.embedding.shape == (1, 12, module.embedding_dim)
    for name, values in outputs.items():
        torch.testing.assert_close(values, expected[name], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize('share', [0.0, 0.9, 1.0])
def test_oneformers_masks_are_cleared_as_the_library_does(share):
    mask = torch.rand(2, 5, 6, generator=torch.Generator().manual_seed(0)) < share
    mask[0, 1] = True
    expected, found = mask.clone(), mask.clone()

    def clear(values):
        values[torch.where(values.sum(-1) == values.shape[-1])] = False

    clear(expected)
    with _ClearByMask():
        clear(found)
    assert not expected[0, 1].any()
    assert torch.equal(found, expected)


FAST = {'maskformer', 'eomt', 'rf_detr', 'segformer'}
"""Kinds that are exported in each run of the suite; together they have all kinds of decoding."""


@pytest.fixture(
    scope='module',
    params=[
        kind if kind in FAST else pytest.param(kind, marks=pytest.mark.slow) for kind in CLASSES
    ],
)
def exported(request, checkpoint, tmp_path_factory):
    """A checkpoint's module and its model file; exports are what takes time."""
    source = checkpoint(request.param)
    path = tmp_path_factory.mktemp('exported') / 'model.onnx'
    arguments = ['export', '--from', f'hf:{source}', '--things', *THINGS]
    assert main([*arguments, '--input-size', '64', '64', '-o', str(path)]) == 0
    return open_transformers(str(source), THINGS)[0], path


LOW = {'score_threshold': 0.1, 'mask_threshold': 0.05, 'overlap_threshold': 0.1, 'min_area': 0.0}
"""Thresholds that random weights reach."""


def test_model_file_equals_the_module(exported):
    module, path = exported
    info = read_info(path)
    assert info.family == 'huggingface'
    assert info.labels == module.labels
    image = random_image((64, 64))
    low = {name: value for name, value in LOW.items() if name in info.thresholds}
    expected = run_eager(module, image, low)
    assert expected['valid'].any()
    assert_same(run_onnx(path, image, low), expected)
    assert_same(run_eager(load_model(path)[0].eval(), image, low), expected)


def test_half_precision_is_as_good_as_autocast(exported, tmp_path):
    module, path = exported
    if module.architecture.decoding != 'queries':  # row k is another query in each run
        return
    image = random_image((64, 64))
    ours, theirs, exact = map(
        query_values,
        (
            run_onnx(write_half(module, path, tmp_path), image, LOW),
            run_autocast(module, image, LOW),
            run_eager(module, image, LOW),
        ),
    )
    assert not np.array_equal(ours, exact)
    assert_as_good_as_autocast(ours, theirs, exact)


@pytest.mark.parametrize('precision', ['fp32', 'fp16'])
def test_tensorrt_rtx_builds_the_graph(exported, precision, tmp_path):
    module, path = exported
    if module.model_type == 'mobilevitv2':
        pytest.skip('TensorRT lacks Col2Im')
    assert_tensorrt_rtx_builds(write_half(module, path, tmp_path) if precision == 'fp16' else path)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('kind', CLASSES)
def test_half_checkpoints_become_float32(kind, dtype, tmp_path):
    model = getattr(transformers, CLASSES[kind])(make_config(kind)).to(dtype)
    model.save_pretrained(tmp_path)
    write_tokenizer(tmp_path)
    module, _ = open_transformers(str(tmp_path), THINGS)
    weights = {
        name: value
        for name, value in module.network.state_dict().items()
        if value.is_floating_point()
    }
    assert {value.dtype for value in weights.values()} == {torch.float32}
    name = next(name for name in weights if name.endswith('.weight'))
    torch.testing.assert_close(weights[name], model.state_dict()[name].float())
    found = run_eager(module, random_image((64, 64)), {})
    assert found['score'].dtype == np.float32


@pytest.mark.parametrize('kind', ['eomt', 'eomt_dinov3', 'rf_detr', 'dpt'])
@pytest.mark.parametrize('size', [(128, 128), (32, 128)])  # the second has as many patches
def test_some_take_only_their_own_size(checkpoint, kind, size, tmp_path, capsys):
    path = tmp_path / 'x.onnx'
    assert (
        main(
            [
                'export',
                '--from',
                f'hf:{checkpoint(kind)}',
                '--things',
                *THINGS,
                '--input-size',
                *map(str, size),
                '-o',
                str(path),
            ]
        )
        == 2
    )
    message = f'takes input of 64x64 px only, got {size[0]}x{size[1]}'
    assert message in capsys.readouterr().err
    assert not path.exists()
    module, _ = open_transformers(str(checkpoint(kind)), THINGS)
    with pytest.raises(ValueError, match=message):
        run_eager(module, random_image(size), {})
