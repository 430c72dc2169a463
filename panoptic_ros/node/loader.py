# SPDX-License-Identifier: Apache-2.0
"""Loading of a model within a time limit."""

import threading
from collections.abc import Mapping
from queue import Empty, SimpleQueue
from typing import Any

from panoptic_ros.node.loading import Loaded, load


def load_in_time(settings: Mapping[str, Any]) -> Loaded:
    """Load and warm up the model that the parameters name, within `load_timeout_s`.

    Loading cannot be interrupted. After the time limit its daemon thread is abandoned; it does
    not keep the process from ending.

    Raises:
        RuntimeError: if the model cannot be loaded.
        TimeoutError: if loading takes too long.
    """
    limit_s = settings['load_timeout_s']
    ended: SimpleQueue[Loaded | str] = SimpleQueue()

    def run() -> None:
        try:
            ended.put(load(settings))
        except BaseException as error:  # also a library's sys.exit
            ended.put(str(error) or type(error).__name__)

    threading.Thread(target=run, name='model loader', daemon=True).start()
    try:
        loaded = ended.get(timeout=limit_s)
    except Empty:
        raise TimeoutError(
            f'the model is not loaded after {limit_s:g} s; if its engine just needs longer, raise '
            'load_timeout_s, else take another model (the thread that loads it remains until the '
            'process ends)'
        ) from None
    if isinstance(loaded, str):
        raise RuntimeError(loaded)
    return loaded
