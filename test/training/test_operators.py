import onnxruntime
import pytest
import torch
from graphs import TENSORRT_OPERATORS
from torch import nn

from panoptic_training.operators import WRITTEN_OUT


@pytest.mark.parametrize('layer', [
    nn.LayerNorm(6), nn.LayerNorm((4, 6), eps=0.1), nn.LayerNorm(6, elementwise_affine=False),
    nn.GELU(), nn.GELU(approximate='tanh'),
], ids=repr)
def test_layers_are_written_out_in_operators_that_engines_have(layer):
    generator = torch.Generator().manual_seed(0)
    for parameter in layer.parameters():
        nn.init.normal_(parameter, generator=generator)
    x = torch.randn(2, 4, 6, generator=generator) * 3
    graph = torch.onnx.export(layer.eval(), (x,), dynamo=True, optimize=False, verbose=False,
                              custom_translation_table=WRITTEN_OUT).model_proto
    assert {node.op_type for node in graph.graph.node} <= TENSORRT_OPERATORS
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    found = session.run(None, {session.get_inputs()[0].name: x.numpy()})[0]
    torch.testing.assert_close(torch.from_numpy(found), layer(x).detach(), atol=1e-5, rtol=1e-5)
