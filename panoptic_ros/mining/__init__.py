# SPDX-License-Identifier: Apache-2.0
"""Choice of the frames of recordings that are worth labelling, and data sets of frames."""
