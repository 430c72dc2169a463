# SPDX-License-Identifier: Apache-2.0
"""Times of the pipeline and of the metrics."""
