#!/usr/bin/env bash
# Runs a command beside a Docker daemon that has a stand-in for TensorFlow Serving's image.
#
#   scripts/docker_stand_in.sh with COMMAND…  start a daemon of one's own, build the image, run
#                                             COMMAND, remove both; root only
#   scripts/docker_stand_in.sh daemon COMMAND…  the same without the image
#   scripts/docker_stand_in.sh build          build the image with the daemon that the docker
#                                             command finds
#
# The stand-in is `cxr serve` of this checkout, on the interpreter and the packages of .venv, with
# the surface that TensorFlow Serving's image has: MODEL_NAME and MODEL_BASE_PATH, gRPC on 8500,
# REST on 8501. It needs no registry, and tells nothing about TensorFlow Serving's own program.
#
# Environment:
#   CXR_SERVING_TAG  tag of tensorflow/serving for the stand-in (cxr-embedded)
#   CXR_PYTHON       interpreter whose packages it gets (.venv/bin/python)
#   TMPDIR           where the daemon's data lies meanwhile: about 4 GB
set -euo pipefail

CHECKOUT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
SCRIPT=$CHECKOUT/scripts/docker_stand_in.sh
readonly CHECKOUT SCRIPT
readonly PYTHON=${CXR_PYTHON:-$CHECKOUT/.venv/bin/python}
readonly PACKAGES=(components models pipeline schema serving)
export CXR_SERVING_TAG=${CXR_SERVING_TAG:-cxr-embedded}
# Global, since the trap outlives the function that fills it.
WORK=
trap '[ -z "$WORK" ] || rm -rf "$WORK"' EXIT

die() {
    printf 'docker_stand_in: %s\n' "$*" >&2
    exit 2
}

# --- The image -----------------------------------------------------------------------

# Each path of standard input, with the links to its folder resolved, and what its name leads to.
resolved() {
    local path
    while IFS= read -r path; do
        printf '%s/%s\n' "$(realpath -- "$(dirname -- "$path")")" "$(basename -- "$path")"
        realpath -- "$path"
    done
}

# Shared libraries that these files are linked to.
libraries() {
    { ldd "$@" 2>/dev/null || true; } | sed -nE 's,^[^/]*(/[^ :]+) \(0x.*,\1,p' | sort -u
}

build() {
    local python stdlib site binaries
    WORK=$(mktemp -d)
    python=$(realpath -- "$PYTHON")
    { read -r stdlib && read -r site; } < <("$PYTHON" -c '
import sysconfig
print(sysconfig.get_paths()["stdlib"], sysconfig.get_paths()["purelib"], sep="\n")')

    mkdir -m 1777 "$WORK/tmp"
    # As TensorFlow Serving's entry point: one model, from MODEL_BASE_PATH/MODEL_NAME.
    cat >"$WORK/serve" <<END
#!/bin/sh
printf 'model_config_list { config { name: "%s" base_path: "%s" model_platform: "tensorflow" } }' \
    "\$MODEL_NAME" "\$MODEL_BASE_PATH/\$MODEL_NAME" >/tmp/models.config
exec '$python' -m pipeline.cli serve --model-config-file /tmp/models.config \
    --host 0.0.0.0 --insecure-without-tls --insecure-without-authentication "\$@"
END
    chmod 755 "$WORK/serve"
    mapfile -t binaries < <(find "$stdlib" "$site" -name '*.so*' -type f)
    {
        find / -maxdepth 1 -type l \( -name 'lib*' -o -name bin \) # /lib to /usr/lib, and so on
        { echo /bin/sh && libraries /bin/sh "$python" "${binaries[@]}"; } | resolved \
            | grep -vF -e "$stdlib/" -e "$site/"
        printf '%s\n' "$python" "$stdlib" "$site" "${PACKAGES[@]/#/$CHECKOUT/}"
    } | sed 's,^/,,' | awk '!seen[$0]++' >"$WORK/files"

    # At the paths that they have here, so that whatever holds its own path stays right.
    tar --create -C "$WORK" tmp serve -C / --exclude="${stdlib#/}/test" \
        --exclude="${site#/}/tensorflow/include" --files-from "$WORK/files" \
        | docker import \
            --change 'ENTRYPOINT ["/serve"]' --change 'EXPOSE 8500 8501' \
            --change "WORKDIR $CHECKOUT" --change "ENV PYTHONPATH=\"$CHECKOUT:$site\"" \
            --change 'ENV HOME=/tmp' --change 'ENV PATH=/usr/bin:/bin' \
            --change 'ENV MODEL_NAME=model' --change 'ENV MODEL_BASE_PATH=/models' \
            - "tensorflow/serving:$CXR_SERVING_TAG"
}

# --- The daemon ----------------------------------------------------------------------

# In namespaces of its own: network (InfraValidator publishes ports on every address), mounts, and
# processes, all of which end with the first one.
with_daemon() {
    local build=$1
    shift
    [ $# -gt 0 ] || die 'with what command?'
    [ "$(id -u)" = 0 ] || die 'a daemon of its own needs root; with another, use `build`.'
    local program
    for program in dockerd docker ip unshare; do
        command -v "$program" >/dev/null \
            || die "$program is missing: install Docker, iproute2 and util-linux."
    done
    WORK=$(mktemp -d)
    unshare --net --mount --pid --fork --kill-child --mount-proc -- \
        "$BASH" "$SCRIPT" _inside "$WORK" "$build" "$@"
}

inside() {
    local work=$1 build=$2 daemon status=0
    shift 2
    ip link set lo up
    export DOCKER_HOST=unix://$work/docker.sock
    # No container asks for anything outside: no rules of a firewall are needed.
    dockerd --host "$DOCKER_HOST" --data-root "$work/data" --exec-root "$work/exec" \
        --pidfile "$work/pid" --cgroup-parent "/${work##*/}" --iptables=false --ip-masq=false \
        >"$work/log" 2>&1 &
    daemon=$!
    for _ in {1..60}; do
        ! docker version >/dev/null 2>&1 || break
        kill -0 "$daemon" 2>/dev/null || { tail -5 "$work/log" >&2 && die 'dockerd did not start.'; }
        sleep 0.5
    done
    # In a process of its own, where an error ends it.
    { [ -z "$build" ] || "$BASH" "$SCRIPT" build; } && "$@" || status=$?
    kill "$daemon" && wait "$daemon" || true
    # Docker leaves its control groups: one, or one a controller.
    find /sys/fs/cgroup -maxdepth 2 -type d -name "${work##*/}" -exec rmdir {} + || true
    return "$status"
}

case ${1:-} in
    build) build ;;
    with) with_daemon build "${@:2}" ;;
    daemon) with_daemon '' "${@:2}" ;;
    _inside) inside "${@:2}" ;;
    *) die 'usage: docker_stand_in.sh with COMMAND… | daemon COMMAND… | build' ;;
esac
