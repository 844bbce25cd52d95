#!/usr/bin/env bash
# Install what the tests need, check style and types, and run the tests. Arguments go to pytest, which then runs alone.
#   bash run_tests.sh                            style, types, all tests that need no GPU
#   bash run_tests.sh -m gpu                     those that do
#   bash run_tests.sh tests/model -k clip
#   bash run_tests.sh -n 0 tests/model           one after the other, not a process per core
set -eu
cd "$(dirname "$0")"

sh install.sh tests/requirements.txt
sh tests/install_browser.sh
export HF_HUB_OFFLINE=1  # nothing is downloaded at run time
export PYTHONDONTWRITEBYTECODE=  # packages come uncompiled; keep what Python compiles, or every start takes 15 s longer
export PYRIGHT_PYTHON_IGNORE_WARNINGS=1  # nor does pyright ask the package index for news of itself

status=0
if [ $# -eq 0 ]; then
    .venv/bin/ruff check . || status=$?
    .venv/bin/ruff format --check . || status=$?
    .venv/bin/pyright || status=$?
fi
.venv/bin/python -m pytest -n auto --dist worksteal -m "not gpu" "$@" || status=$?
exit $status
