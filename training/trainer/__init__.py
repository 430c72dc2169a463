# SPDX-License-Identifier: Apache-2.0
"""Training with Lightning: module, data, schedule, recipes and run folders."""
