# SPDX-License-Identifier: Apache-2.0
"""Loading of the model that the parameters name."""

import logging
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

from panoptic_ros.core.label_remap import read_label_remap
from panoptic_ros.core.labels import LabelRemap, LabelSet
from panoptic_ros.core.model_file import file_hash, read_info
from panoptic_ros.core.resources import default_model
from panoptic_ros.node.parameters import AT_RELOAD, join_names
from panoptic_ros.runtime import Predictor
from panoptic_ros.runtime.engine_build import EngineBuild
from panoptic_ros.runtime.load import load

logger = logging.getLogger(__name__)


class LoadedModel(NamedTuple):
    """Model that is ready to run, and the hash of its file."""

    predictor: Predictor
    file_hash: str

    settings: Mapping[str, Any]
    """The parameters' values with which it was loaded."""

    def describe(self) -> dict[str, str]:
        """Return name, hash, family, backend and so on for diagnostics and the log."""
        info, backend = self.predictor.info, self.predictor.backend
        return {
            'name': info.name,
            'hash': self.file_hash,
            'family': info.family,
            'backend': backend.name,
            'device': backend.device,
            'precision': backend.precision,
            'engine': 'ready',
        }

    def changed(self, settings: Mapping[str, Any]) -> list[str]:
        """Return the parameters whose present values have an effect at the next reload."""
        return [name for name in AT_RELOAD if settings[name] != self.settings[name]]


def load_model(
    settings: Mapping[str, Any], progress: EngineBuild | None = None, threads: int | None = None
) -> LoadedModel:
    """Load and warm up the model that the parameters name.

    Args:
        settings: the parameters' values.
        progress: filled while an engine is built.
        threads: see `open_backend`.

    Raises:
        ValueError, OSError: if there is no such model file, or it cannot be read.
        BackendError: if no backend can run the model.
    """
    path = Path(settings['model']).expanduser() if settings['model'] else default_model()
    remap = None
    if settings['labels.remap']:  # first, as loading may take long
        remap = _read_remap(Path(settings['labels.remap']).expanduser(), read_info(path).labels)
    cache_dir = settings['engine_cache_dir']
    predictor = load(
        path,
        **{name: settings[name] for name in ('backend', 'device', 'precision', 'allow_cpu')},
        engine_cache_dir=Path(cache_dir).expanduser() if cache_dir else None,
        progress=progress,
        threads=threads,
    )
    if settings['class_colors'] == 'own':
        _change_labels(predictor, own_colors=True)
    if remap is not None:
        _change_labels(predictor, remap=remap)
    return LoadedModel(predictor, file_hash(path), settings)


def _read_remap(path: Path, labels: LabelSet) -> LabelRemap:
    """See `read_label_remap`; logs the classes that are left out."""
    remap = read_label_remap(path, labels)
    names = [name for name, i in zip(labels.names, remap.ids, strict=True) if i is None]
    if names:
        logger.info('labels.remap: not published are %s', join_names(names))
    return remap


def _change_labels(predictor: Predictor, **changes: Any) -> None:
    labels = replace(predictor.info.labels, **changes)
    predictor.info = replace(predictor.info, labels=labels)


def load_in_time(settings: Mapping[str, Any], progress: EngineBuild) -> LoadedModel:
    """Load and warm up the model that the parameters name, within `load_timeout_s`.

    Loading cannot be interrupted; only the build of an engine ends after its present step. After
    the time limit the daemon thread is abandoned; it does not keep the process from ending.

    Args:
        settings: the parameters' values.
        progress: filled while an engine is built.

    Raises:
        RuntimeError: if the model cannot be loaded.
        TimeoutError: if loading takes too long.
    """
    limit_s = settings['load_timeout_s']
    ended: SimpleQueue[LoadedModel | str] = SimpleQueue()

    def run() -> None:
        try:
            ended.put(load_model(settings, progress))
        except BaseException as error:  # also a library's sys.exit
            ended.put(str(error) or type(error).__name__)

    threading.Thread(target=run, name='model loader', daemon=True).start()
    try:
        loaded = ended.get(timeout=limit_s)
    except Empty:
        progress.cancelled = True
        raise TimeoutError(
            f'the model is not loaded after {limit_s:g} s; if its engine just needs longer, build '
            'it ahead of time with `panoptic build`, or raise load_timeout_s, else take another '
            'model (the thread that loads it may remain until the process ends)'
        ) from None
    if isinstance(loaded, str):
        raise RuntimeError(loaded)
    return loaded
