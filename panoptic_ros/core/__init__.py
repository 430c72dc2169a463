# SPDX-License-Identifier: Apache-2.0
"""Values and files without dependencies on the rest of the package."""
