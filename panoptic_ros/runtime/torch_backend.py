# SPDX-License-Identifier: Apache-2.0
"""PyTorch backend: the family's module with the weights of the model file."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.calibration import calibrate_outputs, raw_thresholds
from panoptic_ros.core.model_file import ModelFileError, load_onnx
from panoptic_ros.core.model_info import ModelInfo, Outputs
from panoptic_ros.core.onnx_graph import TRANSPOSED
from panoptic_ros.runtime.backend import BackendError
from panoptic_ros.runtime.gpu import gpu_index

if TYPE_CHECKING:
    from torch import Tensor

    from panoptic_ros.models.base import PanopticModel

    Forward = Callable[[Tensor, dict[str, Tensor]], tuple[Tensor, ...]]

T = TypeVar('T')

MODES = ('eager', 'compiled', 'cudagraph')


class TorchBackend:
    """Backend that runs the family's module in PyTorch."""

    def __init__(
        self,
        path: Path,
        info: ModelInfo,
        device: str,
        mode: str = '',
        precision: str = 'auto',
        threads: int | None = None,
    ) -> None:
        """Build the module and load the file's weights into it.

        Args:
            path: the model file.
            info: its description.
            device: `cpu` or `cuda[:<index>]`.
            mode: one of MODES; empty is `eager`.
            precision: `auto` or `fp32`; weights in half precision become float32.
            threads: CPU threads of the whole process; None is PyTorch's default.

        Raises:
            BackendError: if PyTorch, the device or the mode is not available.
            ModelFileError: if the file does not fit the family's module.
        """
        try:
            import torch

            from panoptic_ros.models.registry import NoModuleError, build_model
        except ImportError as error:
            raise BackendError(
                f'torch or timm cannot be imported ({error}); pip install torch torchvision timm'
            ) from None
        mode = mode or 'eager'
        if mode not in MODES:
            raise BackendError(f'torch mode must be one of {", ".join(MODES)}, got {mode!r}')
        if precision not in ('auto', 'fp32'):
            raise BackendError(
                f'torch computes in fp32, got precision {precision}; '
                'set it to auto, or use the backend onnxruntime or tensorrt'
            )
        index = gpu_index(device)
        if index is not None and not torch.cuda.is_available():
            raise BackendError(
                f'torch {torch.__version__} does not see the GPU; install a build '
                'for its CUDA version, see pytorch.org'
            )
        if mode == 'cudagraph' and index is None:
            raise BackendError('torch/cudagraph needs a GPU, got device cpu')
        if threads:
            torch.set_num_threads(threads)

        self.name = f'torch/{mode}'
        self.device = 'cpu' if index is None else f'cuda:{index}'
        self.precision = 'fp32'
        self.fallback_reason = ''
        try:
            module = build_model(info)
        except NoModuleError as error:
            raise BackendError(f'torch cannot run {path}: {error}') from None
        except (TypeError, ValueError) as error:
            raise ModelFileError(f'{path}: {error}') from None
        except ImportError as error:  # a package that only this family needs
            raise BackendError(f'torch: {error}') from None
        load_weights(module, path)
        module = module.eval().to(self.device)
        self._torch, self._calibration = torch, info.calibration
        self._forward: Forward = lambda image, scalars: module(image, **scalars)
        if mode == 'compiled':
            compiled = torch.compile(module)
            self._forward = lambda image, scalars: compiled(image, **scalars)
        elif mode == 'cudagraph':
            self._forward = self._capture(info)

    def run(self, image: npt.NDArray[np.uint8], thresholds: Mapping[str, Any]) -> Outputs:
        """See `Backend.run`."""
        torch = self._torch
        with torch.inference_mode():
            scalars = {
                name: torch.as_tensor(value, dtype=torch.float32, device=self.device)
                for name, value in raw_thresholds(thresholds, self._calibration).items()
            }
            outputs = self._forward(torch.from_numpy(image).to(self.device), scalars)
            found = Outputs(*(value.cpu().numpy() for value in outputs))
        return calibrate_outputs(found, self._calibration)

    def _capture(self, info: ModelInfo) -> Forward:
        """Capture the kernels of one image in a CUDA graph, which starts them with one call."""
        torch, eager = self._torch, self._forward
        image = torch.zeros(info.image_shape, dtype=torch.uint8, device=self.device)
        scalars = {
            name: torch.full(info.threshold_shape, float(value.default), device=self.device)
            for name, value in info.thresholds.items()
        }
        start, outputs = capture_graph(lambda: eager(image, scalars), self.device)

        def replay(new_image: Tensor, new_scalars: dict[str, Tensor]) -> tuple[Tensor, ...]:
            image.copy_(new_image)
            for name, value in new_scalars.items():
                scalars[name].copy_(value)
            start()
            return outputs

        return replay


def capture_graph(run: Callable[[], T], device: str) -> tuple[Callable[[], None], T]:
    """Capture the kernels of a function in a CUDA graph, which starts them with one call.

    Args:
        run: works on tensors that stay where they are, and waits for no result.
        device: `cuda[:<index>]`.

    Returns:
        A function that starts the kernels, and the function's result, whose tensors they fill.
    """
    import torch

    graph = torch.cuda.CUDAGraph()
    with torch.inference_mode(), torch.cuda.device(device):
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # libraries choose their kernels before the capture
            for _ in range(3):
                run()
        torch.cuda.current_stream().wait_stream(stream)
        with torch.cuda.graph(graph):
            result = run()
    return graph.replay, result


def load_weights(module: PanopticModel, path: Path) -> None:
    """Load the initializers of an ONNX file into a module, matched by name.

    Float16 initializers are converted to float32.

    Raises:
        ModelFileError: if a weight is missing, unexpected or of another shape than the module's;
            names it. If the file is quantised.
    """
    import torch
    from onnx import numpy_helper

    def tensor(initializer: Any) -> Tensor:
        array = numpy_helper.to_array(initializer)
        return torch.from_numpy(
            array.astype(np.float32) if array.dtype == np.float16 else array.copy()
        )

    graph = load_onnx(path).graph
    if any(node.op_type == 'DequantizeLinear' for node in graph.node):
        raise ModelFileError(
            f'{path} is quantised: onnxruntime and tensorrt run it, but its weights cannot be '
            'loaded; use the model file that it was made from'
        )
    found = {}
    for initializer in graph.initializer:
        value = tensor(initializer)
        name = initializer.name.removesuffix(TRANSPOSED)
        found[name] = value if name == initializer.name else value.mT
    merge_norms(module, found)
    # The file lacks BatchNorm's counter of training batches, which inference does not need.
    state = {
        name: value
        for name, value in module.state_dict().items()
        if not name.endswith('num_batches_tracked')
    }
    missing = sorted(
        name for name in set(state) - set(found) if not name.startswith(module.training_only)
    )
    # Names of the exporter's own constants have no dots; those of a module's weights have.
    # Buffers that are not saved with a module are constants that it makes itself.
    known = {*state, *(name for name, _ in module.named_buffers())}
    unexpected = sorted(name for name in set(found) - known if '.' in name)
    if missing or unexpected:
        raise ModelFileError(
            f"{path} lacks {len(missing)} of the module's {len(state)} weights and "
            f'has {len(unexpected)} others, the first is '
            f'{(missing + unexpected)[0]!r}; export it again with this version'
        )
    stored = {name: value for name, value in state.items() if name in found}
    for name, value in stored.items():
        own, shape = tuple(value.shape), tuple(found[name].shape)
        if [n for n in own if n > 1] != [n for n in shape if n > 1]:  # graphs add axes of length 1
            raise ModelFileError(f'{path}: weight {name!r} must be {own}, got {shape}')
    module.load_state_dict(
        {name: found[name].reshape(value.shape) for name, value in stored.items()}, strict=False
    )


def merge_norms(module: PanopticModel, names: Collection[str]) -> None:
    """Remove the batch norms that a file has merged into convolutions.

    Args:
        module: with all its norms.
        names: of the weights in the file, or of a module that was loaded from it.
    """
    from torch import nn, zeros

    for name, layer in list(module.named_modules()):
        if isinstance(layer, nn.Conv2d) and layer.bias is None and f'{name}.bias' in names:
            layer.bias = nn.Parameter(zeros(layer.out_channels))
        elif isinstance(layer, nn.BatchNorm2d) and f'{name}.running_mean' not in names:
            parent, _, child = name.rpartition('.')
            # timm's norms hold their activation.
            rest = [getattr(layer, part) for part in ('drop', 'act') if hasattr(layer, part)]
            setattr(module.get_submodule(parent), child, nn.Sequential(*rest))
