#!/usr/bin/env bash
# Install what the tests need and run them; arguments go to pytest.
#   bash run_tests.sh                            all that need no GPU
#   bash run_tests.sh -m gpu                     those that do
#   bash run_tests.sh tests/model -k clip
#   bash run_tests.sh -n 0 tests/model           one after the other, not a process per core
set -eu
cd "$(dirname "$0")"

sh install.sh tests/requirements.txt
sh tests/install_browser.sh
export HF_HUB_OFFLINE=1  # nothing is downloaded at run time
export PYTHONDONTWRITEBYTECODE=  # packages come uncompiled; keep what Python compiles, or every start takes 15 s longer
exec .venv/bin/python -m pytest -n auto --dist worksteal -m "not gpu" "$@"
