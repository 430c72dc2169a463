# SPDX-License-Identifier: Apache-2.0
"""Parts of the losses: targets, samples and terms, one subject per file."""
