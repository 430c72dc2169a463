# SPDX-License-Identifier: Apache-2.0
"""Run of `panoptic demo`: node, camera and recorder together."""

from panoptic_ros.core.outputs import Results

DURATION_S = 20.0
"""Default duration with the synthetic street or a camera, seconds."""

MAX_FILE_S = 60.0
"""Maximum default duration with a video or a bag, seconds."""

RERUN_FILE = 'recording.rrd'
"""Result of a run with `--rerun`."""

RESULTS = Results(
    ('overlay.mp4', 'contact_sheet.png', 'bag', 'summary.json', RERUN_FILE),
    'summary.json',
    'published',
)
"""Results of a run."""
