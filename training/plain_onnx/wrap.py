# SPDX-License-Identifier: Apache-2.0
"""Networks of ONNX files and their decoding, written as a model file."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from panoptic_ros.core.labels import LabelSet
from panoptic_ros.core.model_file import MAX_FILE_BYTES, require_model_name
from panoptic_ros.core.model_info import ModelInfo
from panoptic_ros.core.onnx_edit import constant_values
from panoptic_ros.models.plain_onnx.network import OnnxDecoder
from panoptic_ros.models.registry import build
from panoptic_ros.runtime.roi_align import replace_roi_align
from panoptic_ros.runtime.self_check import write_with_reference
from panoptic_training.batching import repeat_graph
from panoptic_training.export import sample_inputs, store_as_half
from panoptic_training.half_precision import use_half
from panoptic_training.module_backend import model_info

from .classes import join, warn_of_components
from .joining import join_graphs
from .licence import card_of
from .part import Part, Source, read_part


def wrap(
    sources: Sequence[Source],
    path: Path,
    *,
    name: str,
    half_weights: bool = False,
    precision: str = 'fp32',
    grid_sample: bool = False,
    batch: int = 1,
    scores: Mapping[str, float] | None = None,
    card: Mapping[str, str] | None = None,
    unknown: Mapping[str, float] | None = None,
    **decoding: Any,
) -> ModelInfo:
    """Write networks and their decoding as one model file.

    Args:
        sources: one network, or one of instances and a semantic one.
        path: the file to write, ending in .onnx.
        name: name of the model in the metadata.
        half_weights: store weights as float16.
        precision: number format of the networks, `fp32` or `fp16`; see `half_precision`.
        grid_sample: write RoiAlign as GridSample.
        batch: number of images that the graph takes at once; the networks run once for each.
        scores: validation scores for the metadata.
        card: the model card; None takes licence and author from the files' metadata.
        unknown: least scores by class, see `ModelInfo.with_unknown`.
        decoding: fields of the decoding's configuration; None keeps its default.

    Returns:
        the metadata of the file.

    Raises:
        OSError: if a file cannot be read.
        ValueError: for files that are not of their formats, or do not fit together.
    """
    require_model_name(path)
    parts = [read_part(source) for source in sources]
    decoder = _decoder(parts, decoding)
    if card is None:
        card = card_of([part.network for part in parts])
    info = model_info(decoder, decoder.config.input_size, name, scores=scores, card=card)
    info = replace(info, precision=precision, batch=batch).with_unknown(unknown or {})
    graph = join_graphs(parts, decoder)
    if batch > 1:
        graph = repeat_graph(graph, info)
    if precision == 'fp16':
        weights = {name for name in constant_values(graph.graph) if name.startswith('network')}
        use_half(graph, weights, sample_inputs(info))
    if half_weights:
        store_as_half(graph)
    if grid_sample:
        replace_roi_align(graph)
    if graph.ByteSize() >= MAX_FILE_BYTES:
        raise ValueError(
            f'the graph takes {graph.ByteSize()} bytes, and an ONNX file holds '
            f'{MAX_FILE_BYTES - 1}; --weights fp16 halves its weights'
        )
    write_with_reference(graph.SerializeToString(), info, path)
    return info


def _decoder(parts: Sequence[Part], decoding: Mapping[str, Any]) -> OnnxDecoder:
    """Build the decoding of networks, and check that they fit together."""
    kinds = [part.format.kind for part in parts]
    if len(parts) > 1 and sorted(kinds) != ['instances', 'semantic']:
        raise ValueError(
            'two networks must be one of instances and one semantic, got '
            + ' and '.join(f'{part.network.path} of {part.format.kind}' for part in parts)
        )
    sizes = {part.network.input_size for part in parts}
    if len(sizes) > 1:
        raise ValueError(
            'networks in one model need inputs of one size, got '
            + ' and '.join('{}x{}'.format(*part.network.input_size) for part in parts)
            + ' px; export them again with the same size'
        )
    by_kind = {part.format.kind: part for part in parts}
    instances, semantic = by_kind.get('instances'), by_kind.get('semantic')
    own: dict[str, Any] = {'input_size': parts[0].network.input_size}
    if 'queries' in by_kind:
        family, labels = 'onnx_queries', _of_all_channels(by_kind['queries'])
    else:
        family = 'onnx'
        if instances and semantic:
            labels, things, stuff = join(instances.classes, semantic.classes)
        elif instances:
            labels = instances.classes.labels
            things, stuff = instances.classes, None
        else:
            assert semantic is not None
            things, stuff, labels = None, semantic.classes, semantic.classes.labels
            warn_of_components(stuff, semantic.network)
        if instances and things:
            own |= {'instances': instances.match.layout, 'instance_class': things.class_of_channel}
        if semantic and stuff:
            own |= {
                'semantic': semantic.match.layout,
                'semantic_class': stuff.class_of_channel,
                'channels_last': semantic.match.channels_last,
            }
    # The padding has the mean colour: that of the semantic network is grey, as YOLO expects.
    shown = (semantic or parts[0]).settings
    assert shown.scale and shown.mean and shown.std
    own |= {
        'mean': tuple(value / (255 * shown.scale) for value in shown.mean),
        'std': tuple(value / (255 * shown.scale) for value in shown.std),
    }
    if fixed := sorted(set(own) & set(decoding)):
        raise ValueError(f'--set: {fixed[0]} follows from the networks and their input')
    own |= (instances or parts[0]).format.thresholds
    own |= {key: value for key, value in decoding.items() if value is not None}
    decoder = build(family, labels, **own)
    assert isinstance(decoder, OnnxDecoder)
    return decoder.eval()


def _of_all_channels(part: Part) -> LabelSet:
    """Return the labels of queries, whose class logits all need one."""
    labels, channels = part.classes
    if channels != tuple(range(len(labels))):
        raise ValueError(
            f'{part.network.path} has the classes 0 to {len(channels) - 1}: its class file must '
            'have all of them, in this order'
        )
    return labels
