# SPDX-License-Identifier: Apache-2.0
"""Model families: image to maps to segments, one `nn.Module` each."""
