#!/usr/bin/env bash
# Builds the image of kubeflow/Dockerfile without an image registry, and runs a command beside it.
#
#   scripts/kubeflow_image.sh COMMAND…   fetch what is needed, start a Docker daemon of one's own
#                                        (scripts/docker_stand_in.sh), build, run COMMAND, remove
#                                        the daemon; root only
#
# The base image is Debian's own, by debootstrap: for TFX 1.21 Debian 13 with its Python 3.13
# (scripts/trixie.sh makes and keeps it), for TFX 1.16 Debian 12 with this machine's Python 3.10 in
# it. The packages are fetched before, since the daemon has no network.
#
# Environment:
#   CXR_TFX             1.21 (the default) or 1.16
#   CXR_KUBEFLOW_IMAGE  the image's name (cxr-tfx:local); COMMAND sees it, too
#   CXR_KUBEFLOW_CACHE  folder for packages and base, kept between calls (one that is removed)
#   CXR_PYTHON          an interpreter of Python 3.10, for TFX 1.16 (.venv/bin/python)
set -euo pipefail

CHECKOUT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
SCRIPT=$CHECKOUT/scripts/kubeflow_image.sh
readonly CHECKOUT SCRIPT
readonly TFX=${CXR_TFX:-1.21}
readonly LOCK=$CHECKOUT/requirements/tfx-$TFX.lock
readonly PYTHON=${CXR_PYTHON:-$CHECKOUT/.venv/bin/python}
export CXR_KUBEFLOW_IMAGE=${CXR_KUBEFLOW_IMAGE:-cxr-tfx:local}
SCRATCH=
trap '[ -z "$SCRATCH" ] || rm -rf "$SCRATCH"' EXIT

die() {
    printf 'kubeflow_image: %s\n' "$*" >&2
    exit 2
}

# Whether the packages in the cache are the lock's.
are_fetched() {
    [ -e "$1/wheels.done" ] && cmp -s "$LOCK" "$1/wheels.done"
}

# Whole or not at all; what calls before left in the system is none of the image's.
pack() {
    local root=$1 cache=$2
    tar --create --file "$cache/base.tar.new" -C "$root" --exclude=./var/cache --exclude=./tmp/* \
        --exclude=./srv/* --exclude=./root/.cache --exclude=./proc/* --exclude=./sys/* \
        --exclude=./dev/* .
    mv "$cache/base.tar.new" "$cache/base.tar"
}

# Downloads where the packages will be used: what fits depends on Python and glibc.
fetch_1_21() {
    local cache=$1 trixie=$CHECKOUT/scripts/trixie.sh root
    root=$("$trixie" --root)
    # The system, for what is still to be taken from it.
    { are_fetched "$cache" && [ -e "$cache/base.tar" ]; } || "$trixie" true
    if ! are_fetched "$cache"; then
        rm -rf "$root/var/cache/cxr-wheels" "$cache/packages"
        mkdir -p "$root/var/cache/cxr-wheels" "$cache/packages"
        cp "$LOCK" "$root/var/cache/cxr-wheels/tfx.lock"
        "$trixie" bash -c 'python3 -m venv /tmp/cxr-pip && /tmp/cxr-pip/bin/pip download --quiet \
            --no-deps --require-hashes --dest /var/cache/cxr-wheels/wheels \
            --requirement /var/cache/cxr-wheels/tfx.lock && rm -rf /tmp/cxr-pip'
        mv "$root/var/cache/cxr-wheels/wheels" "$cache/packages/wheels"
        cp "$LOCK" "$cache/wheels.done"
    fi
    [ -e "$cache/base.tar" ] || pack "$root" "$cache"
}

# The mirror that this machine's own apt uses for a suite.
mirror_of() {
    # shellcheck disable=SC2016 # apt's own variables
    apt-get indextargets --format '$(REPO_URI) $(CODENAME)' | awk -v suite="$1" \
        '$2 == suite { print $1; exit }'
}

fetch_1_16() {
    local cache=$1 prefix
    # What pyenv's Python is linked to, and the compiler for pyfarmhash.
    local packages=g++,libssl3,libffi8,libsqlite3-0,liblzma5,libbz2-1.0,libreadline8,zlib1g,libncursesw6,libuuid1,ca-certificates
    if ! are_fetched "$cache"; then
        rm -rf "$cache/packages"
        "$PYTHON" -m pip download --quiet --no-deps --require-hashes \
            --dest "$cache/packages/wheels" --requirement "$LOCK"
        cp "$LOCK" "$cache/wheels.done"
    fi
    if [ ! -e "$cache/base.tar" ]; then
        debootstrap --variant=minbase --include="$packages" bookworm "$cache/root" \
            "$(mirror_of bookworm)" >"$cache/debootstrap.log"
        prefix=$("$PYTHON" -c 'import sys; print(sys.base_prefix)')
        mkdir -p "$cache/root$prefix"
        cp -a "$prefix/." "$cache/root$prefix/"
        ln -sf "$prefix/bin/python3.10" "$cache/root/usr/local/bin/python3"
        # The home folder of root is closed to others by default, and Python may lie there.
        chmod -R a+rX "$cache/root$prefix"
        chmod a+x "$cache/root/root"
        pack "$cache/root" "$cache"
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
        --build-arg TFX="$TFX" --build-arg BUILD_BASE=cxr-base:wheels --build-arg BASE=cxr-base:bare \
        --build-arg PIP_ARGS='--no-index --find-links /wheels' \
        --tag "$CXR_KUBEFLOW_IMAGE" "$CHECKOUT"
}

if [ "${1:-}" = _inside ]; then
    build "$2"
    "${@:3}"
    exit
fi
[ $# -gt 0 ] || die 'with what command?'
[ -e "$LOCK" ] || die "CXR_TFX is $TFX: there are 1.16 and 1.21."
[ "$(id -u)" = 0 ] || die 'needs root, for debootstrap and a daemon of its own.'
for program in debootstrap dockerd docker; do
    command -v "$program" >/dev/null || die "$program is missing: apt-get install debootstrap docker.io."
done
if [ -n "${CXR_KUBEFLOW_CACHE:-}" ]; then
    CACHE=$CXR_KUBEFLOW_CACHE/$TFX
    mkdir -p "$CACHE"
else
    SCRATCH=$(mktemp -d)
    CACHE=$SCRATCH
fi
"fetch_${TFX/./_}" "$CACHE"
"$CHECKOUT/scripts/docker_stand_in.sh" daemon "$BASH" "$SCRIPT" _inside "$CACHE" "$@"
