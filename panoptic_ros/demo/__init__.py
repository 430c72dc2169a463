# SPDX-License-Identifier: Apache-2.0
"""Run of `panoptic demo`: node, camera and recorder together."""

DURATION_S = 20.0
"""Default duration with the synthetic street or a camera, seconds."""

MAX_FILE_S = 60.0
"""Maximum default duration with a video or a bag, seconds."""
