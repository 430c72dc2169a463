# SPDX-License-Identifier: Apache-2.0
"""One graph of preparation, networks and decoding."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import TensorProto
from torch import Tensor, nn

from panoptic_ros.core.model_info import OUTPUTS
from panoptic_ros.core.onnx_edit import remove_unused
from panoptic_ros.core.text import one_line
from panoptic_ros.models.plain_onnx.network import OnnxDecoder
from panoptic_training.export import trace
from panoptic_training.onnx_passes import simplify

from .part import Part
from .source import run_graph

LEAST_OPSET = 18
"""Version of ONNX's operators in which the decoding is written."""

TORCH_TYPES: dict[int, torch.dtype] = {
    TensorProto.FLOAT: torch.float32,
    TensorProto.FLOAT16: torch.float16,
    TensorProto.UINT8: torch.uint8,
}

CONVERTED_TOLERANCE = 2e-3
"""Largest difference of outputs, relative to their largest value, after a change of the opset."""


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
        swap = settings.order == 'bgr'
        if swap:
            pixels = pixels.index_select(2, torch.tensor([2, 1, 0]))
        if part.network.channels_first:
            pixels = pixels.permute(2, 0, 1)

        def by_channel(values: Sequence[float]) -> Tensor:
            """Return numbers in R, G, B that fit the pixels; one number where they are equal."""
            if len(set(values)) == 1:
                return torch.tensor(values[0])
            numbers = torch.tensor(values[::-1] if swap else values)
            return numbers.view(3, 1, 1) if part.network.channels_first else numbers

        factor = [settings.scale / value for value in settings.std]
        if set(factor) != {1.0}:
            pixels = pixels * by_channel(factor)
        if any(settings.mean):
            pixels = pixels - by_channel(
                [m / s for m, s in zip(settings.mean, settings.std, strict=True)]
            )
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
        if (
            after.shape != before.shape
            or np.abs(after - before).max() > CONVERTED_TOLERANCE * scale
        ):
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
