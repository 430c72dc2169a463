#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Times networks and decoding on an NVIDIA GPU; see docs/deployment.md.
#
#   examples/gpu_benchmark.sh [FOLDER] [--dry-run] [--rows NAME ...]
#
# It needs PyTorch, torchvision, timm, NumPy, OpenCV, ONNX and ONNX Runtime for the python3 of the
# PATH (or $PYTHON), but neither an installation of this package nor a network. The table and a
# JSON file go to FOLDER (default: $OUT, or the current folder). It ends within 8 minutes.
set -u
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
names=$(mktemp -d)
trap 'rm -rf "$names"' EXIT
# setup.py installs the folder `training` under this name.
ln -s "$repository/training" "$names/panoptic_training"
export PYTHONPATH="$repository:$names${PYTHONPATH:+:$PYTHONPATH}"
export PYTHONDONTWRITEBYTECODE=1
"${PYTHON:-python3}" "$repository/examples/gpu_benchmark.py" "$@"
