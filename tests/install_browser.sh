#!/bin/sh
# The page is tested in a real browser. Where there is none, and we may install one, install Debian's Chromium.
# Its absence is no error here: the tests that need it then say so.
for name in chromium chromium-browser google-chrome; do
    if command -v "$name" >/dev/null; then exit 0; fi
done
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then exit 0; fi

echo "installing chromium for the tests of the page"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
if ! { apt-get -qq update && apt-get -qq install -y --no-install-recommends chromium; } >"$log" 2>&1; then
    echo "chromium could not be installed:" >&2
    tail -n 3 "$log" >&2
fi
rm -f "$log"
