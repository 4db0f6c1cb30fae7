#!/usr/bin/env bash
# Builds Prism, Beam's own runner in Go, of the version of the installed apache-beam, and prints where
# it lies: below ~/.cache/cxr-tfx/prism, with all that Go needs meanwhile. The first time it takes four CPU
# minutes and more than half a gigabyte, of which the program's 65 MB stay; afterwards nothing.
#
#   scripts/prism.sh [PYTHON]     PYTHON has the apache-beam; default .venv/bin/python
#
# Exits with 3 and a reason where there is no Go, and with 1 where Go can't build it.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

python=${1:-.venv/bin/python}
version=$("$python" -c 'from importlib.metadata import version; print(version("apache-beam"))')
folder=${XDG_CACHE_HOME:-$HOME/.cache}/cxr-tfx/prism/$version

if [ ! -x "$folder/prism" ]; then
    if ! command -v go >/dev/null; then
        echo 'left out: Prism is built with Go, which is not here' >&2
        exit 3
    fi
    mkdir -p "$folder"
    work=$(mktemp -d "$folder/.go-XXXXXX")
    trap 'rm -rf "$work"' EXIT
    # -modcacherw: so that it can be removed.
    if ! env GOPATH="$work/path" GOCACHE="$work/cache" GOBIN="$work/bin" GOTMPDIR="$work" \
        GOFLAGS="${GOFLAGS:-} -modcacherw" \
        go install "github.com/apache/beam/sdks/v2/go/cmd/prism@v$version" >&2; then
        echo "Prism $version can't be built: what Go said is above" >&2
        exit 1
    fi
    mv "$work/bin/prism" "$folder/prism"
fi
echo "$folder/prism"
