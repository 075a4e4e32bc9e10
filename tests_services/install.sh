#!/bin/sh
# Installs what the tests of services need, or says what and why not.
set -eu
wanted='orthanc orthanc-dicomweb dicom3tools dcmtk chromium postgresql'
command -v npm >/dev/null || wanted="$wanted npm"
missing=''
for package in $wanted; do
    status=$(dpkg-query --show --showformat '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
if ! command -v apt-get >/dev/null; then
    echo "test-services: no apt-get on this machine; install by its own means:$missing" >&2
    exit 1
fi
if [ "$(id -u)" != 0 ]; then
    echo "test-services: not root; install first: sudo apt-get install$missing" >&2
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update --quiet=2
# Run level 1: the packages' own services are not started, the tests start theirs.
# shellcheck disable=SC2086
RUNLEVEL=1 apt-get install --quiet=2 --yes --no-install-recommends $missing
