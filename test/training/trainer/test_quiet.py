# SPDX-License-Identifier: Apache-2.0
"""Messages of libraries that a training shows, and those that it hides."""

import logging
import warnings

import pytest

from panoptic_training.trainer.quiet import quiet_libraries


@pytest.mark.parametrize(
    ('message', 'kind', 'is_shown'),
    [
        ('`isinstance(treespec, LeafSpec)` is deprecated', FutureWarning, False),
        ('old', DeprecationWarning, False),
        (
            "The 'train_dataloader' does not have many workers which may be a bottleneck.",
            UserWarning,
            False,
        ),
        ('Checkpoint directory /runs exists and is not empty.', UserWarning, False),
        ('Found 3 modules in eval mode at the start of training.', UserWarning, True),
        ('The number of training batches (4) is smaller than the logging', UserWarning, True),
    ],
)
def test_only_warnings_about_the_input_remain(message, kind, is_shown):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        with quiet_libraries():
            warnings.warn(message, kind, stacklevel=1)
    assert [str(one.message) for one in caught] == [message] * is_shown


def test_information_of_lightning_is_hidden_from_its_own_handler_only(caplog):
    caplog.set_level(logging.INFO, 'lightning.pytorch')
    logger, shown, kept = logging.getLogger('lightning.pytorch'), [], []

    class Own(logging.Handler):
        def emit(self, record):
            kept.append(record.getMessage())

    stream = logging.StreamHandler()
    stream.emit = lambda record: shown.append(record.getMessage())
    own = Own()
    logger.addHandler(stream)
    logger.addHandler(own)
    try:
        with quiet_libraries():
            logger.info('Tip: try litlogger')
            logger.warning('the data is odd')
        logger.info('after')
    finally:
        logger.removeHandler(stream)
        logger.removeHandler(own)
    assert shown == ['the data is odd', 'after']
    assert kept == ['Tip: try litlogger', 'the data is odd', 'after']
