# SPDX-License-Identifier: Apache-2.0
"""Backends of this machine, each tried with the packaged model."""

import time
from collections.abc import Iterator

from panoptic_ros.doctor.findings import Facts, Finding, note
from panoptic_ros.doctor.probes import Ended, Probe, python_module

BASELINE = 'onnxruntime'
"""Backend that every installation has; it is tried first."""

LEAST_S = 2.0
"""Time below which a backend is not tried, seconds."""

SLOW_MS = 100.0
"""Time for an image from which a note says so."""

WORKS, MISSING, FAILED, CUT_OFF, LEFT_OUT = (
    'works',
    'not available',
    'failed',
    'cut off',
    'not tried',
)
"""States of a backend."""


def backend_facts(engines: Ended, end_s: float) -> Facts:
    """Try each installed backend with the packaged model, one after the other.

    Args:
        engines: output of `panoptic_ros.doctor.engines`.
        end_s: time on the monotonic clock at which the last trial ends, seconds.
    """
    documents = engines.documents
    if not documents:
        return {'error': engines.reason, 'chosen': None, 'backends': {}}
    reasons = documents[0]['reasons']
    tried = {
        name: {'state': MISSING, 'reason': reasons[name]}
        if reasons[name]
        else _try(name, end_s - time.monotonic())
        for name in sorted(reasons, key=lambda name: name != BASELINE)
    }
    backends = {name: tried[name] for name in reasons}
    return {'error': '', 'chosen': _chosen(backends), 'backends': backends}


def _try(name: str, left_s: float) -> Facts:
    if left_s < LEAST_S:
        return {'state': LEFT_OUT, 'reason': 'the time of the check was over'}
    probe = Probe(python_module('panoptic_ros.doctor.self_check', name), left_s)
    ended = probe.result
    report = next(iter(ended.documents), None)
    if report is None:
        return {'state': CUT_OFF if ended.cut_off else FAILED, 'reason': ended.reason}
    if 'error' in report:
        return {'state': FAILED, 'reason': report['error']}
    return {'state': WORKS, 'reason': '', **report}


def _chosen(backends: Facts) -> str | None:
    """Return the backend that the node takes with the setting auto; None if none works."""
    working = [name for name, row in backends.items() if row['state'] == WORKS]
    fast = [name for name in working if backends[name]['device'] != 'cpu']
    return next(iter(fast or working), None)


def backend_findings(facts: Facts) -> Iterator[Finding]:
    """Yield findings about backends that do not work, are slow or compute something else."""
    backends, chosen = facts['backends'], facts['chosen']
    if facts['error']:
        yield Finding(
            f'the packaged model cannot run: {facts["error"]}',
            'install the package again as docs/install.md says',
        )
        return
    for name, row in backends.items():
        if row['state'] == FAILED:
            yield Finding(
                f'{name} is installed, but does not run the packaged model: {row["reason"]}',
                'do what the reason says, or install the package again; if another backend '
                f'works, pip uninstall {name}',
                is_problem=chosen is None or name == BASELINE,
            )
        elif row['state'] == CUT_OFF and (chosen is None or name != 'torch'):
            yield Finding(
                f'{name} did not finish the check of the packaged model: {row["reason"]}',
                'run this again on a quiet machine'
                if name == BASELINE
                else 'the first start builds an engine, which takes minutes: start the node once',
                is_problem=chosen is None or name == BASELINE,
            )
        elif row['state'] == WORKS and row['difference']:
            yield Finding(
                f'the packaged model finds something else in its test picture with {name}: '
                f'{row["difference"]}',
                'install the package and the backend again; if that does not help, report a fault '
                'with this page',
            )
    if not backends or all(row['state'] == MISSING for row in backends.values()):
        yield Finding(
            'no backend is installed', 'pip install onnxruntime, or onnxruntime-gpu for a GPU'
        )
    if chosen is None:
        return
    row = backends[chosen]
    if row['fallback_reason']:
        yield Finding(
            f'a GPU is there, but {chosen} runs on the CPU: {row["fallback_reason"]}',
            'install what the reason names, or set `device` of the node to cpu',
        )
    if row['p50_ms'] > SLOW_MS:
        yield note(
            f'the packaged model takes {row["p50_ms"]:.0f} ms for an image: the node processes '
            f'{1e3 / row["p50_ms"]:.1f} images/s at most',
            'repeat this on a quiet machine; use a GPU or a smaller model for a higher rate',
        )
