# SPDX-License-Identifier: Apache-2.0
"""Networks of ONNX files and their decoding as one graph, written as a model file."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import TensorProto
from torch import Tensor, nn

from panoptic_ros.core.labels import LabelSet
from panoptic_ros.core.model_file import MAX_FILE_BYTES, require_model_name, write_model_file
from panoptic_ros.core.model_info import OUTPUTS, ModelInfo
from panoptic_ros.core.onnx_edit import constant_values, remove_unused
from panoptic_ros.core.text import did_you_mean, one_line
from panoptic_ros.models.plain_onnx.network import OnnxDecoder
from panoptic_ros.models.registry import build
from panoptic_ros.runtime.roi_align import replace_roi_align
from panoptic_ros.runtime.self_check import make_reference
from panoptic_training.export import sample_inputs, store_as_half, trace
from panoptic_training.half_precision import use_half
from panoptic_training.module_backend import model_info
from panoptic_training.onnx_passes import simplify

from .classes import Classes, all_stuff, join, read_classes, require_things
from .formats import FORMATS, Format, Match, is_distribution
from .source import InputSettings, Network, read_network, run_graph

logger = logging.getLogger(__name__)

LEAST_OPSET = 18
"""Version of ONNX's operators in which the decoding is written."""

TORCH_TYPES: dict[int, torch.dtype] = {
    TensorProto.FLOAT: torch.float32,
    TensorProto.FLOAT16: torch.float16,
    TensorProto.UINT8: torch.uint8,
}

TURNED = 2e-3
"""Largest difference of outputs, relative to their largest value, after a change of the opset."""


@dataclass(frozen=True)
class Source:
    """ONNX file to wrap, and what it is."""

    path: Path

    format: str
    """A key of FORMATS."""

    classes: Path | None = None
    """Class file whose ids are the numbers of the network's channels."""

    things: tuple[str, ...] = ()
    """Names of the things, for networks of queries whose metadata names the classes."""

    input: InputSettings = field(default_factory=InputSettings)


@dataclass(frozen=True)
class Part:
    """Network with the meaning of its outputs."""

    network: Network
    format: Format
    match: Match
    classes: Classes

    samples: Sequence[npt.NDArray[Any]]
    """The outputs that decoding needs, in its order, for a chart of colours."""

    settings: InputSettings
    """Input, with a scale, mean and std."""


def wrap(
    sources: Sequence[Source],
    path: Path,
    *,
    name: str,
    half_weights: bool = False,
    precision: str = 'fp32',
    grid_sample: bool = False,
    scores: Mapping[str, float] | None = None,
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
        scores: validation scores for the metadata.
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
    info = model_info(decoder, decoder.config.input_size, name, scores=scores)
    info = replace(info, precision=precision)
    graph = join_graphs(parts, decoder)
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
    write_model_file(graph, info, path, make_reference(graph, info))
    return info


def read_part(source: Source) -> Part:
    """Read a network and check that its outputs are those of its format; see `wrap`."""
    path, form = source.path, FORMATS.get(source.format)
    if form is None:
        raise ValueError(
            f'unknown format {source.format!r}{did_you_mean(source.format, FORMATS)}; the formats '
            f'are: {", ".join(FORMATS)}'
        )
    network = read_network(path, source.input.size)
    settings = _with_defaults(source.input, form, network)
    samples = network.run(network.sample(settings))
    found = network.outputs(samples)
    match = form.match(found, network.input_size)
    if match is None:
        others = [name for name, other in FORMATS.items() if _has_layout(network, samples, other)]
        hint = f'; it may be of --format {" or ".join(others)}' if others else ''
        raise ValueError(
            f'{path} is not of the format {source.format}: expected {form.expects}, found '
            f'{", ".join(map(str, found))}{hint}'
        )
    used = [samples[i] for i in match.outputs]
    for i, values in zip(match.outputs, used, strict=True):
        if values.dtype.kind == 'f' and not np.isfinite(values).all():
            raise ValueError(f'{path}: output {found[i]} has NaN or infinity for an image')
    if problem := form.check(match, used):
        raise ValueError(f'{path} is not of the format {source.format}: {problem}')
    if match.layout == 'logits' and is_distribution(used[0], 3 if match.channels_last else 1):
        match = match._replace(layout='probabilities')
    things = None if form.kind == 'instances' else source.things
    classes = read_classes(network, match.channels, source.classes, things)
    if form.kind == 'instances':
        require_things(classes, network)
    return Part(network, form, match, classes, used, settings)


def _has_layout(network: Network, samples: Sequence[npt.NDArray[Any]], form: Format) -> bool:
    """Return whether outputs can be those of a format."""
    match = form.match(network.outputs(samples), network.input_size)
    return match is not None and not form.check(match, [samples[i] for i in match.outputs])


def _with_defaults(own: InputSettings, form: Format, network: Network) -> InputSettings:
    """Return an input's settings with the format's defaults for what is not set.

    A network that takes bytes normalises them itself. A scale of one's own goes with a mean and
    deviation of one's own, which are 0 and 1 by default.
    """
    plain = own.scale is not None or network.takes_bytes
    settings = replace(
        own,
        scale=own.scale or (1.0 if plain else 1 / 255),
        mean=own.mean or ((0.0, 0.0, 0.0) if plain else form.mean),
        std=own.std or ((1.0, 1.0, 1.0) if plain else form.std),
    )
    assert settings.scale and settings.mean
    if max(settings.mean) > 255 * settings.scale:
        raise ValueError(
            f'--mean must be colours of an input from 0 to {255 * settings.scale:g}, got '
            f'{max(settings.mean):g}; --scale says how bright white is, 1 for pixels up to 255'
        )
    if network.takes_bytes and own.normalizes:
        raise ValueError(
            f'{network.path} takes bytes, which it normalises itself; leave out --scale, --mean '
            'and --std'
        )
    return settings


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
            things, stuff = None, all_stuff(semantic.classes, semantic.network)
            labels = stuff.labels
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


class Prepare(nn.Module):
    """First part of the graph: from a camera image to the inputs of the networks."""

    def __init__(self, parts: Sequence[Part]) -> None:
        super().__init__()
        self.parts = parts

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return the input of each network for an image (H, W, 3) uint8 RGB."""
        pixels = image.to(torch.float32)  # TensorRT takes bytes only where they are converted
        return tuple(self._input(pixels, part) for part in self.parts)

    def _input(self, pixels: Tensor, part: Part) -> Tensor:
        settings = part.settings
        assert settings.scale and settings.mean and settings.std
        factor = [settings.scale / value for value in settings.std]
        if set(factor) != {1.0}:
            pixels = pixels * torch.tensor(factor)
        if any(settings.mean):
            offset = [m / s for m, s in zip(settings.mean, settings.std, strict=True)]
            pixels = pixels - torch.tensor(offset)
        if settings.order == 'bgr':
            pixels = pixels.index_select(2, torch.tensor([2, 1, 0]))
        if part.network.channels_first:
            pixels = pixels.permute(2, 0, 1)
        return pixels[None].to(TORCH_TYPES[part.network.input_type])


def join_graphs(parts: Sequence[Part], decoder: OnnxDecoder) -> onnx.ModelProto:
    """Return one graph of preparation, networks and decoding.

    The networks' values have the prefix `network<i>/`. Their outputs have a second name,
    `maps_<i>_<output>`, as the ends of networks have in all model files.
    """
    opset = max(LEAST_OPSET, *(_opset(part.network.model) for part in parts))
    graphs = [named_graph(part, i, opset) for i, part in enumerate(parts)]
    image = torch.zeros(*decoder.config.input_size, 3, dtype=torch.uint8)
    inputs = [graph.graph.input[0].name for graph in graphs]
    prepare = trace(Prepare(parts), {'image': image}, {}, inputs, opset=opset)
    simplify(prepare)
    prepare = onnx.compose.add_prefix(
        prepare, 'prepare/', rename_inputs=False, rename_outputs=False
    )
    bridges, maps = [], {}
    for kind in ('instances', 'semantic', 'queries'):  # the order in which decoding takes them
        for i, part in enumerate(parts):
            if part.format.kind == kind:
                for j, values in zip(part.match.outputs, part.samples, strict=True):
                    own = graphs[i].graph.output[j].name
                    name = f'maps_{i}_{own.partition("/")[2]}'
                    bridge, maps[name] = _bridge(own, name, values)
                    bridges.append(bridge)
    decode = trace(decoder, maps, decoder.default_thresholds(), OUTPUTS, opset=opset)
    simplify(decode)
    chain = [prepare, *graphs, decode]
    described = [v for g in chain for v in g.graph.value_info]
    described += [v for v in decode.graph.input if v.name in maps]
    joined = onnx.helper.make_graph(
        [
            *(node for graph in chain[:-1] for node in graph.graph.node),
            *bridges,
            *decode.graph.node,
        ],
        'panoptic',
        [*prepare.graph.input, *(v for v in decode.graph.input if v.name not in maps)],
        list(decode.graph.output),
        [tensor for graph in chain for tensor in graph.graph.initializer],
        value_info=described,
    )
    remove_unused(joined)
    domains = {o.domain: o.version for g in graphs for o in g.opset_import}
    return onnx.helper.make_model(
        joined,
        producer_name='panoptic_ros',
        ir_version=max(graph.ir_version for graph in chain),
        opset_imports=[
            onnx.helper.make_opsetid('', opset),
            *(
                onnx.helper.make_opsetid(domain, version)
                for domain, version in domains.items()
                if domain not in ('', 'ai.onnx')
            ),
        ],
    )


def _opset(model: onnx.ModelProto) -> int:
    return next((o.version for o in model.opset_import if o.domain in ('', 'ai.onnx')), 1)


def named_graph(part: Part, index: int, opset: int) -> onnx.ModelProto:
    """Return a network's graph with an opset, and with the prefix of its index."""
    model, path = part.network.model, part.network.path
    if _opset(model) < opset:
        model = _converted(part, opset)
    # Some tools leave nodes without a name or give one twice; names are for messages only.
    for node in model.graph.node:
        node.ClearField('name')
    try:
        return onnx.compose.add_prefix(model, f'network{index}/')
    except Exception as error:
        raise ValueError(f'{path}: its graph is damaged: {one_line(error)}') from None


def _converted(part: Part, opset: int) -> onnx.ModelProto:
    """Return a network's graph with a later opset, which must give the same outputs.

    Raises:
        ValueError: if ONNX cannot convert it, or the outputs differ.
    """
    network = part.network
    what = f'{network.path} has the opset {_opset(network.model)}'
    remedy = f'export the network with the opset {opset}'
    try:
        model = onnx.version_converter.convert_version(network.model, opset)
    except Exception as error:  # of several types, by operator
        raise ValueError(
            f'{what}, and cannot be converted to {opset}: {one_line(error)}; {remedy}'
        ) from None
    feed = {network.input: network.sample(part.settings)}
    results = run_graph(model, feed, network.path)
    for i, before in zip(part.match.outputs, part.samples, strict=True):
        scale = max(1.0, float(np.abs(before.astype(np.float32)).max()))
        after = results[i]
        if after.shape != before.shape or np.abs(after - before).max() > TURNED * scale:
            raise ValueError(
                f'{what}, and gives other outputs when converted to {opset}; {remedy}'
            )
    return model


def _bridge(source: str, name: str, values: npt.NDArray[Any]) -> tuple[onnx.NodeProto, Tensor]:
    """Return the node from a network's output to the decoding's input, and a sample of that.

    The decoding takes float32 and int64.
    """
    wanted = np.dtype(np.float32 if values.dtype.kind == 'f' else np.int64)
    if values.dtype == wanted:
        node = onnx.helper.make_node('Identity', [source], [name], name=name)
    else:
        to = onnx.helper.np_dtype_to_tensor_dtype(wanted)
        node = onnx.helper.make_node('Cast', [source], [name], name=name, to=to)
    return node, torch.from_numpy(values.astype(wanted))
