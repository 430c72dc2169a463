# SPDX-License-Identifier: Apache-2.0
"""Suites: many recordings replayed with one model, their merged scores, and their comparison."""
