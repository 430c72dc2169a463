# SPDX-License-Identifier: Apache-2.0
"""Fuzzer of everything that the package reads from outside: `make fuzz`, see CONTRIBUTING.md."""
