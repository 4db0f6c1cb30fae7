#!/usr/bin/env bash
# Makes .venv: picks a TFX and a Python for it, installs that TFX's lock in requirements/ by
# hash, then this project in editable mode. A second call does nothing until a lock, setup.py or
# the place of the checkout changes.
#
#   TFX 1.21   with CPython 3.11 to 3.13, where glibc is 2.39 or newer
#   TFX 1.16   with CPython 3.10, everywhere else (glibc 2.28 or newer)
#
#   scripts/setup.sh                 set up
#   scripts/setup.sh --print-python  only say which interpreter it would take
#
# Which one and why stands in .venv/cxr-generation. To pick anew (another Python has come):
# `make clean setup`.
#
# Environment:
#   CXR_PYTHON  the interpreter to take, and with it the TFX; no other is tried
#   CXR_NO_UV   if not empty, install with pip alone (slower)
set -euo pipefail

# The table of common/generations.py, which Python reads: best first.
readonly NEW_TFX=1.21 NEW_PYTHONS='3.13 3.12 3.11' NEW_GLIBC=2.39
readonly OLD_TFX=1.16 OLD_PYTHONS='3.10' OLD_GLIBC=2.28

readonly LOCKS=("requirements/tfx-$OLD_TFX.lock" "requirements/tfx-$NEW_TFX.lock")
readonly BOOTSTRAP=requirements/bootstrap.lock
readonly STAMP=.venv/cxr-setup.stamp
readonly NOTE=.venv/cxr-generation
readonly UV=.venv/uv/bin/uv

# What find_python finds.
PYTHON=
TFX=
WHY=
# The lock of that TFX.
LOCK=

say() { printf 'setup: %s\n' "$*"; }
die() {
    printf 'setup: %s\n' "$*" >&2
    exit 2
}

# What decides whether the environment is still good. The path is part of it because
# the scripts in .venv/bin and the editable install hold it.
wanted_stamp() {
    cat "${LOCKS[@]}" "$BOOTSTRAP" setup.py | sha256sum
    pwd -P
}

is_fresh() {
    # -x follows the link: it is false once the interpreter behind it is gone.
    [ -x .venv/bin/python ] && [ -f "$STAMP" ] && [ "$(wanted_stamp)" = "$(cat "$STAMP")" ]
}

# --- Finding the interpreter ---------------------------------------------------------

# Interpreters of one version, one a line, best first. Globs that match nothing stay in as they
# are; the caller skips what is not executable.
candidates() {
    local version=$1 home=${HOME:-/nonexistent}
    local tag=cp${version/./}
    type -aP "python$version" || true
    printf '%s\n' \
        "${PYENV_ROOT:-$home/.pyenv}/versions/$version".*/bin/python \
        "$home/.pyenv/versions/$version".*/bin/python \
        /opt/python*/bin/"python$version" \
        /opt/python*/*"$version"*/bin/"python$version" \
        "/opt/python/$tag-$tag/bin/python$version" \
        "${UV_PYTHON_INSTALL_DIR:-$home/.local/share/uv/python}/cpython-$version"*/bin/"python$version"
    type -aP python3 || true
}

# Its arguments are VERSION=GLIBC, what is asked for. Prints what is wrong, or "ok", then the
# version, the C library's and the interpreter behind a virtual environment: an active .venv
# must not be rebuilt out of itself.
readonly PROBE='
import os, platform, sys, sysconfig
version = "%d.%d" % sys.version_info[:2]
libc, release = platform.libc_ver()
def number(text):
    return tuple(map(int, text.split(".")[:2]))
def check():
    wanted = dict(pair.split("=") for pair in sys.argv[1:])
    if version not in wanted or sys.implementation.name != "cpython":
        return "version"
    if platform.system() != "Linux" or platform.machine() != "x86_64" or sys.maxsize < 2**32:
        return "platform"
    if libc != "glibc" or number(release) < number(wanted[version]):
        return "libc"
    try:
        import ensurepip, venv
    except ImportError:
        return "venv"
    if not os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")):
        return "headers"
    return "ok"
print(check(), version, release or "unknown", getattr(sys, "_base_executable", None) or sys.executable)
'

# A pyenv shim is executable and yet answers "command not found": only running it tells.
# -I keeps PYTHON* variables and the working directory from taking part.
probe() {
    local path=$1 version pairs=()
    shift
    [ -x "$path" ] || return 1
    for version in "$@"; do
        case " $NEW_PYTHONS " in
            *" $version "*) pairs+=("$version=$NEW_GLIBC") ;;
            *) pairs+=("$version=$OLD_GLIBC") ;;
        esac
    done
    "$path" -I -c "$PROBE" "${pairs[@]}" 2>/dev/null
}

# Whether the first of two versions comes before the second; 2.9 does before 2.39.
older() {
    local one other
    IFS=. read -r -a one <<<"$1"
    IFS=. read -r -a other <<<"$2"
    ((one[0] < other[0] || (one[0] == other[0] && one[1] < other[1])))
}

# The TFX of a Python.
tfx_of() {
    case " $NEW_PYTHONS " in
        *" $1 "*) echo "$NEW_TFX" ;;
        *) echo "$OLD_TFX" ;;
    esac
}

# Whether this machine's C library is one for the new TFX. For advice only: an interpreter may
# have another one, and is asked itself.
has_new_glibc() {
    local name release
    read -r name release < <(getconf GNU_LIBC_VERSION 2>/dev/null) || return 1
    [ "$name" = glibc ] || return 1
    ! older "$release" "$NEW_GLIBC"
}

# The distribution, as os-release names it and its relatives.
distribution() {
    [ -r /etc/os-release ] || return 0
    # shellcheck source=/dev/null
    (. /etc/os-release && printf ' %s %s %s%s ' "${ID:-}" "${ID_LIKE:-}" "${ID:-}" "${VERSION_ID:-}")
}

# The exact command that mends a lack: python, headers (also the venv module) or compiler. The
# second argument is the Python's version.
remedy() {
    local os version=${2:-} sudo=''
    os=$(distribution)
    [ "$(id -u)" = 0 ] || sudo='sudo '
    case $1:$os in
        compiler:*' debian '* | compiler:*' ubuntu '*) echo "${sudo}apt-get install -y g++" ;;
        compiler:*' rhel '* | compiler:*' fedora '* | compiler:*' centos '*)
            echo "${sudo}dnf install -y gcc-c++" ;;
        compiler:*) echo 'export CXX=/path/to/a/C++/compiler' ;;
        # Their own Python is one for the new TFX.
        *' debian13 '* | *' ubuntu24.04 '*) echo "${sudo}apt-get install -y python3-dev python3-venv g++" ;;
        # Only Ubuntu 22.04 has 3.10 as a package, besides Fedora.
        *' ubuntu22.04 '*) echo "${sudo}apt-get install -y python3.10-dev python3.10-venv g++" ;;
        *' fedora '*' fedora'*) echo "${sudo}dnf install -y python3.10 gcc-c++" ;;
        headers:*' debian '* | headers:*' ubuntu '*)
            echo "${sudo}apt-get install -y python$version-dev python$version-venv" ;;
        *)
            if command -v pyenv >/dev/null; then
                echo "pyenv install $version"
            elif command -v uv >/dev/null; then
                echo "uv python install $version"
            else
                local first=''
                case $os in
                    *' debian '* | *' ubuntu '*) first="${sudo}apt-get install -y python3-venv g++ && " ;;
                    *' rhel '* | *' centos '*) first="${sudo}dnf install -y python3-pip gcc-c++ && " ;;
                esac
                # In an environment of its own: distributions refuse pip outside of one.
                echo "${first}python3 -m venv ~/.uv && ~/.uv/bin/pip install uv && ~/.uv/bin/uv python install $version"
            fi
            ;;
    esac
}

# What an interpreter lacks, as the end of a sentence that begins with its path.
lack() {
    local verdict=$1 version=${2:-}
    case $verdict in
        platform) echo 'runs on a machine for which TFX has no packages' ;;
        venv) echo "is Python $version but can't make virtual environments" ;;
        headers) echo "is Python $version but its C headers (Python.h) are missing, which building pyfarmhash needs" ;;
    esac
}

# Says in one sentence why an interpreter can't be taken, and what to do.
reject() {
    local verdict=$1 path=$2 version=${3:-} glibc=${4:-}
    case $verdict:$(tfx_of "$version") in
        platform:*) die "$path $(lack platform): take an x86_64 Linux machine." ;;
        libc:"$NEW_TFX") die "$path is Python $version, for which TFX $NEW_TFX needs glibc $NEW_GLIBC or newer (Debian 13, Ubuntu 24.04), and its C library is $glibc: point CXR_PYTHON to a CPython 3.10, or unset it." ;;
        libc:*) die "$path uses a C library for which TFX $OLD_TFX has no packages: take a Linux with glibc $OLD_GLIBC or newer (Debian 10, Ubuntu 20.04, RHEL 8, or later)." ;;
        venv:* | headers:*) die "$path $(lack "$verdict" "$version"): run \`$(remedy headers "$version")\`, then set up again." ;;
        *) die "$path is not CPython 3.10 to 3.13: point CXR_PYTHON to one, or unset it." ;;
    esac
}

# Sets PYTHON, TFX and WHY.
find_python() {
    local path answer verdict version glibc real lacking=() new_missing=''
    if [ -n "${CXR_PYTHON:-}" ]; then
        path=$(type -P "$CXR_PYTHON") || die "CXR_PYTHON=$CXR_PYTHON can't be run: point it to a CPython 3.10 to 3.13, or unset it."
        # shellcheck disable=SC2086 # versions, one a word
        answer=$(probe "$path" $NEW_PYTHONS $OLD_PYTHONS) || answer=broken
        read -r verdict version glibc real <<<"$answer"
        [ "$verdict" = ok ] || reject "$verdict" "$path" "$version" "$glibc"
        PYTHON=$real TFX=$(tfx_of "$version") WHY="CXR_PYTHON is a Python $version"
        return
    fi
    local wanted
    for wanted in $NEW_PYTHONS $OLD_PYTHONS; do
        while IFS= read -r path; do
            answer=$(probe "$path" "$wanted") || continue
            read -r verdict version glibc real <<<"$answer"
            case $verdict:$(tfx_of "$wanted") in
                ok:"$NEW_TFX")
                    PYTHON=$real TFX=$NEW_TFX WHY="Python $version and glibc $glibc are there"
                    return
                    ;;
                ok:*)
                    PYTHON=$real TFX=$OLD_TFX
                    WHY=$(why_old "$glibc" "${lacking[@]}")
                    return
                    ;;
                # The new TFX is not for this machine, whatever is installed.
                version:* | libc:"$NEW_TFX") ;;
                # One that lacks something: another one may be whole, so look on.
                *) [ ${#lacking[@]} -gt 0 ] || lacking=("$verdict" "$path" "$version" "$glibc") ;;
            esac
        done < <(candidates "$wanted")
    done
    [ ${#lacking[@]} -eq 0 ] || reject "${lacking[@]}"
    if has_new_glibc; then
        die "no CPython 3.11 to 3.13 was found, which TFX $NEW_TFX needs (nor a 3.10, for TFX $OLD_TFX): run \`$(remedy python "${NEW_PYTHONS%% *}")\`, then set up again (or point CXR_PYTHON to one)."
    fi
    die "no CPython 3.10 was found, which TFX $OLD_TFX needs: run \`$(remedy python 3.10)\`, then set up again (or point CXR_PYTHON to one)."
}

# Why it is the old TFX: the C library of the Python 3.10 that is taken, then what the first
# interpreter that lacks something lacks, if there is one.
why_old() {
    local glibc=$1 verdict=${2:-} path=${3:-} version=${4:-}
    if older "$glibc" "$NEW_GLIBC"; then
        echo "glibc $glibc is older than $NEW_GLIBC, which TFX $NEW_TFX needs"
    elif [ -n "$verdict" ]; then
        echo "$path $(lack "$verdict" "$version")"
    else
        echo "no CPython 3.11 to 3.13 was found, which TFX $NEW_TFX needs"
    fi
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
    sed -n '/^[^ ]*==/s/ [\]$//p' "$LOCK" >"$versions"
    PIP_CONSTRAINT=$versions .venv/bin/python -m pip install --quiet --use-pep517 \
        --require-hashes -r "$LOCK" \
        && .venv/bin/python -m pip install --quiet --no-deps --no-build-isolation -e .
}

main() {
    cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
    if [ "${1:-}" = --print-python ]; then
        find_python
        printf '%s\n' "$PYTHON"
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
    find_python
    require_compiler
    LOCK=requirements/tfx-$TFX.lock

    say "TFX $TFX: $WHY"
    say "making .venv with $PYTHON"
    # First of all, so that an interrupted run never looks like a finished one.
    rm -f "$STAMP"
    "$PYTHON" -m venv --clear .venv
    say "installing the packages of $LOCK, $(grep -c '^[^ ]*==' "$LOCK") in all (a minute with a fast network; several with a slow one)"
    if ! install_with_uv; then
        say 'without uv: pip takes about 3 minutes'
        install_with_pip || die "the packages could not be installed (see above): check the network and the free disk space (4 GB), then run \`make setup\` again."
    fi
    printf '%s: %s\n' "$TFX" "$WHY" >"$NOTE"
    wanted_stamp >"$STAMP.new"
    mv "$STAMP.new" "$STAMP"
    say "done in $SECONDS s"
}

main "$@"
