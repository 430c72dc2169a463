# SPDX-License-Identifier: Apache-2.0
"""Suppression of messages of libraries that are not about the user's input."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

LOGGERS = ('lightning', 'lightning.pytorch', 'lightning.fabric', 'pytorch_lightning')
"""Loggers that report hardware, seeds, tips and advertisements at level INFO."""

TUNING = (
    r'.*does not have many workers which may be a bottleneck',
    r'Checkpoint directory .* exists and is not empty',
    r'Precision .* is not supported by the model summary',
)
"""Starts of warnings about speed, and about what `require_unused` has already checked."""


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Hide information, advertisements, deprecations and tuning advice of libraries.

    Other warnings remain. Handlers that the caller added still receive all records.
    """
    handlers = [
        handler
        for name in LOGGERS
        for handler in logging.getLogger(name).handlers
        if type(handler) is logging.StreamHandler
    ]
    levels = [handler.level for handler in handlers]
    with warnings.catch_warnings():
        for category in (DeprecationWarning, PendingDeprecationWarning, FutureWarning):
            warnings.simplefilter('ignore', category)
        for message in TUNING:
            warnings.filterwarnings('ignore', message)
        for handler in handlers:
            handler.setLevel(logging.WARNING)
        try:
            yield
        finally:
            for handler, level in zip(handlers, levels, strict=True):
                handler.setLevel(level)
