# SPDX-License-Identifier: Apache-2.0
"""Build of a TensorRT engine from a model file, with its progress."""

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from panoptic_ros.core.model_file import ModelFileError, load_onnx
from panoptic_ros.core.text import one_line, short
from panoptic_ros.runtime.backend import BackendError
from panoptic_ros.runtime.roi_align import replace_roi_align
from panoptic_ros.runtime.tensorrt_library import Library

logger = logging.getLogger(__name__)


@dataclass
class _Phase:
    """Phase of a build, as the library reports it."""

    parent: str
    steps: int
    done: int = 0


@dataclass
class EngineBuild:
    """Progress of an engine's build, which other threads may read and cancel.

    Attributes:
        share: part that is done, 0 to 1; None while no engine is being built. The parts take
            different times, so it says little about the remaining time.
        phase: what the library is doing.
        cancelled: set it to end the build after the present step, which may be a long one.
    """

    share: float | None = None
    phase: str = ''
    cancelled: bool = False
    _phases: dict[str, _Phase] = field(default_factory=dict)

    def begin(self) -> None:
        """Begin a build."""
        self.share, self._phases = 0.0, {}

    def end(self) -> None:
        """End the build, complete or not."""
        self.share = None

    def start(self, name: str, parent: str | None, steps: int) -> None:
        """Begin a phase."""
        self._phases[name] = _Phase(parent or '', max(steps, 1))
        self.phase = name

    def step(self, name: str, number: int) -> bool:
        """Record the end of a phase's step, counted from 0; return whether to continue."""
        if name in self._phases:
            self._phases[name].done = number + 1
        self.share = max(self.share or 0.0, self._done(''))
        return not self.cancelled

    def finish(self, name: str) -> None:
        """End a phase."""
        self._phases.pop(name, None)

    def _done(self, parent: str) -> float:
        """Return the part that is done of the phases inside another one."""
        parts = [
            min((phase.done + self._done(name)) / phase.steps, 1.0)
            for name, phase in tuple(self._phases.items())
            if phase.parent == parent
        ]
        return max(parts, default=0.0)


def build_engine(library: Library, path: Path, progress: EngineBuild) -> bytes:
    """Build the engine of a model file.

    The network is strongly typed: the engine computes in the types of the graph.

    Args:
        library: TensorRT or TensorRT-RTX. TensorRT builds for the current GPU. TensorRT-RTX needs
            no GPU, and builds for all GPUs from Ampere on.
        path: the model file.
        progress: filled while the engine is built.

    Raises:
        ModelFileError: if the library does not accept the graph; names the operator.
        BackendError: if there is not enough memory, or the build was cancelled.
    """
    logger.info('%s %s builds an engine of %s', library.name, library.version, path)
    trt = library.module
    library.errors.clear()
    model = load_onnx(path)
    try:
        replace_roi_align(model)
    except ValueError as error:
        raise ModelFileError(f'{path}: {error}') from None
    data = model.SerializeToString()
    del model
    builder = trt.Builder(library.logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, library.logger)
    if not parser.parse(data):
        refused = _refused(parser.get_error(0))
        raise ModelFileError(
            f'{path}: {library.name} does not accept {refused}; set another backend, or write the '
            'file again with `panoptic export` if an earlier version wrote it'
        )
    del data
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)  # float32 of full precision, as in other backends
    monitor = _make_monitor(trt, progress)  # must outlive the build
    config.progress_monitor = monitor
    progress.begin()
    try:
        engine = builder.build_serialized_network(network, config)
    finally:
        progress.end()
    if engine is not None:
        return bytes(engine)
    if progress.cancelled:
        raise BackendError(f'the build of the engine of {path} was cancelled')
    reason = library.first_error()
    if 'memory' in reason.lower() or 'alloc' in reason.lower():
        raise BackendError(f'{library.name} has not enough memory for the engine: {reason}')
    raise ModelFileError(f'{path}: {library.name} cannot build an engine: {reason}')


def _refused(error: Any) -> str:
    """Return the operator that the parser refused, its name and the reason."""
    operator, name = error.node_operator(), error.node_name()
    subject = f'{operator} {short(name)}' if name else operator or 'the graph'
    reason = one_line(error.desc())
    # The parser's check of an operator that the library lacks has the condition `false`.
    return f'{subject}: {"it has no such operator" if reason == "false" else reason}'


def _make_monitor(trt: Any, progress: EngineBuild) -> Any:
    """Return a tensorrt.IProgressMonitor that fills `progress`."""

    class Monitor(trt.IProgressMonitor):
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)  # pybind11 requires this form

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            progress.start(phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            return progress.step(phase_name, step)

        def phase_finish(self, phase_name: str) -> None:
            progress.finish(phase_name)

    return Monitor()
