#!/usr/bin/env bash
# Runs the README's commands in a Debian 13 of its own: glibc 2.41 and Python 3.13, so TFX 1.21,
# whatever this machine has. Root only.
#
#   scripts/trixie.sh             make test, make test-long, make run, in one fresh clone of HEAD
#   scripts/trixie.sh COMMAND…    COMMAND in a fresh clone; several: bash -c 'make setup && …'
#   scripts/trixie.sh --check     only say what is missing, in one sentence, if anything is
#   scripts/trixie.sh --root      only print where the system lies, or would
#
# The system is debootstrap's, from the mirror of this machine's apt; it is kept between calls, and
# with it uv's cache. Mounts and processes are in namespaces of their own: nothing of them is left
# when this ends or is killed. The folder `shared` beside the checkout, where there is one, stands
# beside the clone, too, and can't be written to. The exit status is that of the first command that
# fails.
#
# Environment:
#   CXR_TRIXIE_ROOT    where the system lies (~/.cache/cxr-tfx/trixie)
#   CXR_TRIXIE_MIRROR  a mirror of Debian, instead of apt's
#   CXR_TEST_ARGS      more options of pytest, for make test
# Settings of pip, uv and proxies are passed on, but for those that are paths of this machine.
set -euo pipefail

CHECKOUT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
SCRIPT=$CHECKOUT/scripts/trixie.sh
readonly CHECKOUT SCRIPT
readonly SUITE=trixie
# Python and compiler as the README asks for them; the tools of .ci/run; what tests call (ps, ss).
readonly PACKAGES=python3,python3-dev,python3-venv,g++,make,git,curl,ca-certificates,procps,iproute2,util-linux
readonly ROOT=${CXR_TRIXIE_ROOT:-${XDG_CACHE_HOME:-${HOME:-/var}/.cache}/cxr-tfx/trixie}
readonly BUNDLE=/etc/ssl/certs/ca-certificates.crt
NEW=
FOLDER=

say() { printf 'trixie: %s\n' "$*"; }
die() {
    printf 'trixie: %s\n' "$*" >&2
    exit 2
}

check() {
    local program
    [ "$(id -u)" = 0 ] || die 'needs root, for debootstrap and mounts: run it with sudo.'
    for program in debootstrap git unshare setpriv flock chroot; do
        command -v "$program" >/dev/null || die "$program is missing: run \`apt-get install -y debootstrap git util-linux\`, then try again."
    done
    unshare --mount --pid --fork --kill-child true 2>/dev/null \
        || die 'this machine allows no mounts of one'\''s own: in a container, give it the right (`docker run --privileged`).'
}

# The mirror that this machine's own apt uses, whatever suites it takes from there; nothing where
# apt names none of Debian's, or has never been updated. Security has an archive of its own.
mirror() {
    if [ -n "${CXR_TRIXIE_MIRROR:-}" ]; then
        printf '%s\n' "$CXR_TRIXIE_MIRROR"
        return
    fi
    # shellcheck disable=SC2016 # apt's own variables
    apt-get indextargets --format '$(LABEL)|$(COMPONENT)|$(REPO_URI)' 2>/dev/null \
        | awk -F '|' '$1 == "Debian" && $2 == "main" && !found++ { print $3 }'
}

# Under a temporary name until it is whole.
make_root() {
    local log=$ROOT.log source
    NEW=$(mktemp -d "$ROOT.new.XXXXXX")
    chmod 755 "$NEW"
    say "making a Debian 13 in $ROOT (about a minute)"
    # Without a mirror, debootstrap takes its own. What it mounts is gone with the namespace.
    source=$(mirror) || true
    unshare --mount --propagation private debootstrap --variant=minbase --include="$PACKAGES" \
        "$SUITE" "$NEW" ${source:+"$source"} >"$log" 2>&1 \
        || die "debootstrap failed, $log says why: check the network and apt's mirror, then try again."
    printf '%s\n' "$PACKAGES" >"$NEW/etc/cxr-packages"
    mv "$NEW" "$ROOT"
    NEW=
    say "made in $SECONDS s"
}

# Clones that were left by calls that were killed. A call holds a lock on its own.
sweep() {
    local folder
    for folder in "$ROOT"/srv/cxr.*/; do
        [ ! -d "$folder" ] || ! flock --nonblock "$folder" true || rm -rf --one-file-system "$folder"
    done
}

# The names of this machine's network and whom it trusts; a mirror may stand behind a proxy.
copy_network() {
    local file
    for file in /etc/resolv.conf /etc/hosts; do
        # A link there may lead to where a running system would write.
        [ ! -r "$file" ] || { rm -f "$ROOT$file" && cp -L "$file" "$ROOT$file"; }
    done
    file=${SSL_CERT_FILE:-$BUNDLE}
    [ ! -r "$file" ] || cp -L "$file" "$ROOT$BUNDLE"
}

clone() {
    if [ -n "$(git -C "$CHECKOUT" status --porcelain)" ]; then
        say 'uncommitted changes are not taken: it is HEAD that is tried'
    fi
    git clone --quiet --no-hardlinks "$CHECKOUT" "$FOLDER/cxr"
    say "$(git -C "$CHECKOUT" log -1 --format='%h %s')"
}

# What a command sees of this machine's environment, NAME=VALUE each, ended by a NUL.
passed_on() {
    local name
    while IFS= read -r name; do
        case $name in
            PIP_* | UV_* | *_proxy | *_PROXY)
                # A folder or file of this machine; the mirror's address may have one, too.
                case ${!name} in /* | '~'* | *file:/*) ;; *) printf '%s=%s\0' "$name" "${!name}" ;; esac
                ;;
        esac
    done < <(compgen -e)
    for name in SSL_CERT_FILE PIP_CERT REQUESTS_CA_BUNDLE CURL_CA_BUNDLE GIT_SSL_CAINFO; do
        printf '%s=%s\0' "$name" "$BUNDLE"
    done
}

# In the namespaces: one command, in the clone.
step() {
    local start=$SECONDS status=0 environment
    mapfile -d '' environment < <(passed_on)
    say "$*"
    # The exit status without `set -e`, which would end this before it says how long it took.
    chroot "$ROOT" /usr/bin/env -i HOME=/root PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin \
        LANG=C.UTF-8 TERM="${TERM:-dumb}" "${environment[@]}" \
        /usr/bin/env --chdir="/srv/${FOLDER##*/}/cxr" "$@" || status=$?
    say "$*: exit status $status after $((SECONDS - start)) s"
    return "$status"
}

# The first process of the namespaces: all others end with it.
inside() {
    FOLDER=$1
    shift
    # A root that is a mount, too: tests have namespaces of their own, which want one.
    mount --bind "$ROOT" "$ROOT"
    mount -t proc proc "$ROOT/proc"
    mount --rbind /sys "$ROOT/sys"
    mount --rbind /dev "$ROOT/dev"
    if [ -d "$CHECKOUT/../shared" ]; then
        mkdir "$FOLDER/shared"
        mount --bind "$CHECKOUT/../shared" "$FOLDER/shared"
        mount -o remount,bind,ro "$FOLDER/shared"
    fi
    if [ $# -gt 0 ]; then
        step "$@"
    else
        step make test ${CXR_TEST_ARGS:+"ARGS=$CXR_TEST_ARGS"}
        step make test-long
        step make run
    fi
}

# Called by the EXIT trap, outside the namespaces: what is mounted there isn't seen here.
clean_up() {
    [ -z "$NEW" ] || rm -rf --one-file-system "$NEW"
    [ -z "$FOLDER" ] || rm -rf --one-file-system "$FOLDER" || true
}

main() {
    local child status=0
    if [ "${1:-}" = --root ]; then
        printf '%s\n' "$ROOT"
        return
    fi
    check
    [ "${1:-}" != --check ] || return 0
    mkdir -p "$(dirname "$ROOT")"
    trap clean_up EXIT
    trap 'exit 143' TERM INT HUP
    exec 9>"$ROOT.lock"
    flock 9
    [ -d "$ROOT" ] || make_root
    [ "$(cat "$ROOT/etc/cxr-packages" 2>/dev/null)" = "$PACKAGES" ] \
        || die "$ROOT was made with other packages, or by something else: move it away (or set CXR_TRIXIE_ROOT), then try again."
    sweep
    copy_network
    FOLDER=$(mktemp -d "$ROOT/srv/cxr.XXXXXX")
    exec 8<"$FOLDER"
    flock 8
    exec 9>&-
    chmod 755 "$FOLDER"
    clone
    # In the background, so that a signal is heard at once: its trap ends unshare, and the kernel
    # with it all that runs inside. setpriv does the same where this script is killed outright.
    setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child --propagation private \
        "$BASH" "$SCRIPT" _inside "$FOLDER" "$@" <&0 &
    child=$!
    trap 'kill -KILL "$child" 2>/dev/null || true; wait "$child" 2>/dev/null || true; exit 143' TERM INT HUP
    wait "$child" || status=$?
    return "$status"
}

if [ "${1:-}" = _inside ]; then
    inside "${@:2}"
else
    main "$@"
fi
