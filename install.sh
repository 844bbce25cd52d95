#!/bin/sh
# Make .venv here and install into it what the repository needs. Instant when nothing has changed since.
#   sh install.sh                            all but the tests' own packages
#   sh install.sh tests/requirements.txt     and those of more requirement files
#   PYTHON=python3.12 sh install.sh          .venv is made by this Python, 3.11 or newer
set -eu
cd "$(dirname "$0")"

fail() { echo "error: $*" >&2; exit 2; }

is_new_enough='import sys; sys.exit(sys.version_info < (3, 11))'

make_venv() {
    for python in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
        if "$python" -c "$is_new_enough" 2>/dev/null; then
            "$python" -m venv --clear .venv || fail "'$python -m venv' failed (on Debian, it needs python3-venv)"
            return
        fi
    done
    fail "Python 3.11 or newer is needed; ${PYTHON:-python3} is $("${PYTHON:-python3}" --version 2>&1 || :)." \
         "Name one that is: PYTHON=/path/to/python sh $0"
}

install() {
    # Compiling all modules would take as long as the rest; Python compiles those that are used. -qq: errors only.
    .venv/bin/python -m pip install -qq --no-compile --disable-pip-version-check "$@"
}

packages() {
    install -r requirements.txt
    # gradio declares pillow<13 but works with it. Pillow 13 scales pictures bit for bit as the published models'
    # preprocessing did; 12 is one grey level off in places.
    install --no-deps pillow==13.0.0
}

once() {  # FILE COMMAND...: run the command, unless it has run here on the same file
    stamp=.venv/.installed-$(echo "$1" | tr / -)
    state="$(pwd) $(cksum "$1")"
    if [ "$(cat "$stamp" 2>/dev/null)" != "$state" ]; then
        echo "installing $1 into .venv"
        shift
        "$@"
        echo "$state" > "$stamp"
    fi
}

if ! .venv/bin/python -c "import pip; $is_new_enough" 2>/dev/null; then make_venv; fi
once requirements.txt packages
once experiments/Nano/requirements.txt install --no-deps -r experiments/Nano/requirements.txt
once pyproject.toml install --no-deps --no-build-isolation -e .
for file; do once "$file" install -r "$file"; done
