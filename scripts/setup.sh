#!/usr/bin/env bash
# Makes .venv: finds a Python 3.10, installs requirements/py310.lock by hash, then this
# project in editable mode. A second call does nothing until the lock, setup.py or the
# place of the checkout changes.
#
#   scripts/setup.sh                 set up
#   scripts/setup.sh --print-python  only say which interpreter it would take
#
# Environment:
#   CXR_PYTHON  the interpreter to take; no other is tried
#   CXR_NO_UV   if not empty, install with pip alone (slower)
set -euo pipefail

readonly LOCK=requirements/py310.lock
readonly BOOTSTRAP=requirements/bootstrap.lock
readonly STAMP=.venv/cxr-setup.stamp
readonly UV=.venv/uv/bin/uv

say() { printf 'setup: %s\n' "$*"; }
die() {
    printf 'setup: %s\n' "$*" >&2
    exit 2
}

# What decides whether the environment is still good. The path is part of it because
# the scripts in .venv/bin and the editable install hold it.
wanted_stamp() {
    cat "$LOCK" "$BOOTSTRAP" setup.py | sha256sum
    pwd -P
}

is_fresh() {
    # -x follows the link: it is false once the interpreter behind it is gone.
    [ -x .venv/bin/python ] && [ -f "$STAMP" ] && [ "$(wanted_stamp)" = "$(cat "$STAMP")" ]
}

# --- Finding the interpreter ---------------------------------------------------------

# One candidate a line, best first. Globs that match nothing stay in as they are; the
# caller skips what is not executable.
candidates() {
    local home=${HOME:-/nonexistent}
    type -aP python3.10 || true
    printf '%s\n' \
        "${PYENV_ROOT:-$home/.pyenv}"/versions/3.10.*/bin/python \
        "$home"/.pyenv/versions/3.10.*/bin/python \
        /opt/python*/bin/python3.10 \
        /opt/python*/*3.10*/bin/python3.10 \
        /opt/python/cp310-cp310/bin/python3.10 \
        "${UV_PYTHON_INSTALL_DIR:-$home/.local/share/uv/python}"/cpython-3.10*/bin/python3.10
    type -aP python3 || true
}

# Prints "ok PATH", or the one word that says what is wrong. PATH is the interpreter
# behind a virtual environment: an active .venv must not be rebuilt out of itself.
readonly PROBE='
import os, platform, sys, sysconfig
def check():
    if sys.version_info[:2] != (3, 10) or sys.implementation.name != "cpython":
        return "version"
    if platform.system() != "Linux" or platform.machine() != "x86_64" or sys.maxsize < 2**32:
        return "platform"
    libc, release = platform.libc_ver()
    if libc != "glibc" or tuple(map(int, release.split(".")[:2])) < (2, 28):
        return "libc"
    try:
        import ensurepip, venv
    except ImportError:
        return "venv"
    if not os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")):
        return "headers"
    return "ok " + (getattr(sys, "_base_executable", None) or sys.executable)
print(check())
'

# A pyenv shim is executable and yet answers "command not found": only running it tells.
# -I keeps PYTHON* variables and the working directory from taking part.
probe() {
    [ -x "$1" ] || return 1
    "$1" -I -c "$PROBE" 2>/dev/null
}

# The distribution, as os-release names it and its relatives.
distribution() {
    [ -r /etc/os-release ] || return 0
    # shellcheck source=/dev/null
    (. /etc/os-release && printf ' %s %s %s%s ' "${ID:-}" "${ID_LIKE:-}" "${ID:-}" "${VERSION_ID:-}")
}

# The exact command that mends a lack: python, headers (also the venv module) or compiler.
remedy() {
    local os sudo=''
    os=$(distribution)
    [ "$(id -u)" = 0 ] || sudo='sudo '
    case $1:$os in
        compiler:*' debian '* | compiler:*' ubuntu '*) echo "${sudo}apt-get install -y g++" ;;
        compiler:*' rhel '* | compiler:*' fedora '* | compiler:*' centos '*)
            echo "${sudo}dnf install -y gcc-c++" ;;
        compiler:*) echo 'export CXX=/path/to/a/C++/compiler' ;;
        # Only Ubuntu 22.04 has 3.10 as a package, besides Fedora.
        *' ubuntu22.04 '*) echo "${sudo}apt-get install -y python3.10-dev python3.10-venv g++" ;;
        *' fedora '*' fedora'*) echo "${sudo}dnf install -y python3.10 gcc-c++" ;;
        headers:*' debian '* | headers:*' ubuntu '*)
            echo "${sudo}apt-get install -y python3.10-dev python3.10-venv" ;;
        *)
            if command -v pyenv >/dev/null; then
                echo 'pyenv install 3.10'
            elif command -v uv >/dev/null; then
                echo 'uv python install 3.10'
            else
                local first=''
                case $os in
                    *' debian '* | *' ubuntu '*) first="${sudo}apt-get install -y python3-venv g++ && " ;;
                    *' rhel '* | *' centos '*) first="${sudo}dnf install -y python3-pip gcc-c++ && " ;;
                esac
                # In an environment of its own: distributions refuse pip outside of one.
                echo "${first}python3 -m venv ~/.uv && ~/.uv/bin/pip install uv && ~/.uv/bin/uv python install 3.10"
            fi
            ;;
    esac
}

# Says in one sentence why an interpreter can't be taken, and what to do.
reject() {
    local verdict=$1 path=$2
    case $verdict in
        platform) die "$path runs on a machine for which TFX 1.16 has no packages: take an x86_64 Linux machine." ;;
        libc) die "$path uses a C library for which TFX 1.16 has no packages: take a Linux with glibc 2.28 or newer (Debian 10, Ubuntu 20.04, RHEL 8, or later)." ;;
        venv) die "$path is Python 3.10 but can't make virtual environments: run \`$(remedy headers)\`, then set up again." ;;
        headers) die "$path is Python 3.10 but its C headers (Python.h) are missing, which building pyfarmhash needs: run \`$(remedy headers)\`, then set up again." ;;
        *) die "$path is not CPython 3.10: point CXR_PYTHON to one, or unset it." ;;
    esac
}

find_python() {
    local path verdict first_reason='' first_path=''
    if [ -n "${CXR_PYTHON:-}" ]; then
        path=$(type -P "$CXR_PYTHON") || die "CXR_PYTHON=$CXR_PYTHON can't be run: point it to a CPython 3.10, or unset it."
        verdict=$(probe "$path") || verdict=broken
        [[ $verdict == 'ok '* ]] || reject "$verdict" "$path"
        printf '%s\n' "${verdict#ok }"
        return
    fi
    while IFS= read -r path; do
        verdict=$(probe "$path") || continue
        case $verdict in
            'ok '*)
                printf '%s\n' "${verdict#ok }"
                return
                ;;
            version) ;;
            # A 3.10 that lacks something: another one may be whole, so look on.
            *) [ -n "$first_reason" ] || { first_reason=$verdict && first_path=$path; } ;;
        esac
    done < <(candidates)
    [ -z "$first_reason" ] || reject "$first_reason" "$first_path"
    die "no CPython 3.10 was found, which TFX 1.16 needs: run \`$(remedy python)\`, then set up again (or point CXR_PYTHON to one)."
}

require_compiler() {
    local compiler
    for compiler in ${CXX:+"$CXX"} c++ g++ clang++; do
        # CXX may hold options behind the name.
        ! command -v "${compiler%% *}" >/dev/null || return 0
    done
    die "no C++ compiler was found, which building pyfarmhash (a part of TFX) needs: run \`$(remedy compiler)\`, then set up again."
}

# --- Installing ----------------------------------------------------------------------

install_with_uv() {
    [ -z "${CXR_NO_UV:-}" ] || return 1
    # In a folder of its own: inside the environment it would be one more package that
    # the lock doesn't name.
    .venv/bin/python -m pip install --quiet --require-hashes --target .venv/uv -r "$BOOTSTRAP" \
        && "$UV" pip sync --quiet --require-hashes --compile-bytecode --python .venv/bin/python \
            --build-constraints "$LOCK" "$LOCK" \
        && "$UV" pip install --quiet --no-deps --no-build-isolation --python .venv/bin/python -e .
}

# pip knows settings that uv does not read (pip.conf with a company's mirror, say).
install_with_pip() {
    local versions=.venv/build-versions.txt
    # The constraint reaches the environments in which pip builds packages, so that the
    # build tools are the locked versions too. Without the hashes: there, pip refuses
    # them. A relative path, as pip splits the variable at spaces.
    sed -n 's/^\([^ ]*==[^ ]*\).*/\1/p' "$LOCK" >"$versions"
    PIP_CONSTRAINT=$versions .venv/bin/python -m pip install --quiet --use-pep517 \
        --require-hashes -r "$LOCK" \
        && .venv/bin/python -m pip install --quiet --no-deps --no-build-isolation -e .
}

main() {
    cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
    if [ "${1:-}" = --print-python ]; then
        find_python
        return
    fi
    [ $# -eq 0 ] || die "unknown argument $1: the only one is --print-python."
    ! is_fresh || return 0

    # Two calls at once (make and an editor's hook) would pull .venv from under each
    # other. The lock is on this file, so that none is left behind.
    if command -v flock >/dev/null; then
        exec 9<scripts/setup.sh
        flock 9
        ! is_fresh || return 0
    fi

    unset PYTHONHOME PYTHONPATH
    export PIP_DISABLE_PIP_VERSION_CHECK=1
    local python
    python=$(find_python)
    require_compiler

    say "making .venv with $python"
    # First of all, so that an interrupted run never looks like a finished one.
    rm -f "$STAMP"
    "$python" -m venv --clear .venv
    say "installing $(grep -c '==' "$LOCK") packages of $LOCK (a minute with a fast network; several with a slow one)"
    if ! install_with_uv; then
        say 'without uv: pip takes about 3 minutes'
        install_with_pip || die "the packages could not be installed (see above): check the network and the free disk space (4 GB), then run \`make setup\` again."
    fi
    wanted_stamp >"$STAMP.new"
    mv "$STAMP.new" "$STAMP"
    say "done in $SECONDS s"
}

main "$@"
