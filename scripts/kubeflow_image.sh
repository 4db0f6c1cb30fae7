#!/usr/bin/env bash
# Builds the image of kubeflow/Dockerfile without an image registry, and runs a command beside it.
#
#   scripts/kubeflow_image.sh COMMAND…   fetch what is needed, start a Docker daemon of one's own
#                                        (scripts/docker_stand_in.sh), build, run COMMAND, remove
#                                        the daemon; root only
#
# The base image is Debian's own, by debootstrap, with this machine's Python 3.10 in it. The
# packages are fetched before, since the daemon has no network.
#
# Environment:
#   CXR_KUBEFLOW_IMAGE  the image's name (cxr-tfx:local); COMMAND sees it, too
#   CXR_KUBEFLOW_CACHE  folder for packages and base, kept between calls (one that is removed)
#   CXR_PYTHON          an interpreter of Python 3.10 (.venv/bin/python)
set -euo pipefail

CHECKOUT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
SCRIPT=$CHECKOUT/scripts/kubeflow_image.sh
readonly CHECKOUT SCRIPT
readonly PYTHON=${CXR_PYTHON:-$CHECKOUT/.venv/bin/python}
readonly SUITE=bookworm
# What pyenv's Python is linked to, and the compiler for pyfarmhash.
readonly PACKAGES=g++,libssl3,libffi8,libsqlite3-0,liblzma5,libbz2-1.0,libreadline8,zlib1g,libncursesw6,libuuid1,ca-certificates
export CXR_KUBEFLOW_IMAGE=${CXR_KUBEFLOW_IMAGE:-cxr-tfx:local}
SCRATCH=
trap '[ -z "$SCRATCH" ] || rm -rf "$SCRATCH"' EXIT

die() {
    printf 'kubeflow_image: %s\n' "$*" >&2
    exit 2
}

# The mirror that this machine's own apt uses.
mirror() {
    # shellcheck disable=SC2016 # apt's own variables
    apt-get indextargets --format '$(REPO_URI) $(SUITE)' | awk -v suite="$SUITE" \
        '$2 == suite { print $1; exit }'
}

fetch() {
    local cache=$1 prefix
    if [ ! -e "$cache/wheels.done" ] || ! cmp -s "$CHECKOUT/requirements/tfx-1.16.lock" "$cache/wheels.done"; then
        "$PYTHON" -m pip download --quiet --no-deps --require-hashes \
            --dest "$cache/packages/wheels" --requirement "$CHECKOUT/requirements/tfx-1.16.lock"
        cp "$CHECKOUT/requirements/tfx-1.16.lock" "$cache/wheels.done"
    fi
    if [ ! -e "$cache/base.tar" ]; then
        debootstrap --variant=minbase --include="$PACKAGES" "$SUITE" "$cache/root" "$(mirror)" \
            >"$cache/debootstrap.log"
        prefix=$("$PYTHON" -c 'import sys; print(sys.base_prefix)')
        mkdir -p "$cache/root$prefix"
        cp -a "$prefix/." "$cache/root$prefix/"
        ln -sf "$prefix/bin/python3.10" "$cache/root/usr/local/bin/python3.10"
        # The home folder of root is closed to others by default, and Python may lie there.
        chmod -R a+rX "$cache/root$prefix"
        chmod a+x "$cache/root/root"
        tar --create --file "$cache/base.tar.new" -C "$cache/root" --exclude=./var/cache/apt .
        mv "$cache/base.tar.new" "$cache/base.tar"
        rm -rf "$cache/root"
    fi
}

# Within the daemon's namespaces.
build() {
    local cache=$1
    # Packages come by a layer of their own, so that they aren't in the final image.
    docker import --change 'ENV PATH=/usr/local/bin:/usr/bin:/bin' "$cache/base.tar" cxr-base:bare
    printf 'FROM cxr-base:bare\nCOPY wheels /wheels\n' \
        | DOCKER_BUILDKIT=0 docker build --quiet --tag cxr-base:wheels --file - "$cache/packages"
    DOCKER_BUILDKIT=0 docker build --network none --file "$CHECKOUT/kubeflow/Dockerfile" \
        --build-arg BUILD_BASE=cxr-base:wheels --build-arg BASE=cxr-base:bare \
        --build-arg PIP_ARGS='--no-index --find-links /wheels' \
        --tag "$CXR_KUBEFLOW_IMAGE" "$CHECKOUT"
}

if [ "${1:-}" = _inside ]; then
    build "$2"
    "${@:3}"
    exit
fi
[ $# -gt 0 ] || die 'with what command?'
[ "$(id -u)" = 0 ] || die 'needs root, for debootstrap and a daemon of its own.'
for program in debootstrap dockerd docker; do
    command -v "$program" >/dev/null || die "$program is missing: apt-get install debootstrap docker.io."
done
if [ -n "${CXR_KUBEFLOW_CACHE:-}" ]; then
    CACHE=$CXR_KUBEFLOW_CACHE
    mkdir -p "$CACHE"
else
    SCRATCH=$(mktemp -d)
    CACHE=$SCRATCH
fi
fetch "$CACHE"
"$CHECKOUT/scripts/docker_stand_in.sh" daemon "$BASH" "$SCRIPT" _inside "$CACHE" "$@"
