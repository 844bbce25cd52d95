#!/bin/sh
# See it work: real photos, distorted on the spot, assessed by the model that comes with the repository.
#   sh quickstart.sh                                   photos that come along
#   sh quickstart.sh photo.jpg                         what is wrong with my photo?
#   sh quickstart.sh photo.jpg other.jpg               and which of the two is better?
#   sh quickstart.sh photo.jpg other.jpg reference.jpg     against what both should look like
set -eu
root=$(cd "$(dirname "$0")" && pwd)

sh "$root/install.sh"
export PYTHON="$root/.venv/bin/python"
export HF_HUB_OFFLINE=1  # nothing is downloaded at run time
export PYTHONDONTWRITEBYTECODE=  # packages come uncompiled; keep what Python compiles, or every start takes 15 s longer
exec "$PYTHON" "$root/experiments/Nano/quickstart.py" "$@"
