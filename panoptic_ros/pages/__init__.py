# SPDX-License-Identifier: Apache-2.0
"""HTML pages: their frame, their formats, and a gallery that sorts and filters pictures."""
