# Sourced by the scripts beside it: Debian's packages, the virtual environment, a Docker Engine for as long as a script runs.
# shellcheck shell=bash
#
# What is here already is left as it is. What a script starts it stops, however it ends; packages and .venv stay.

set -euo pipefail
shopt -s inherit_errexit

project_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# `su` without a dash leaves out where Debian keeps dockerd and debootstrap.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
# With stdin closed the next file that anybody opens would become stdin.
{ : <&0; } 2>/dev/null || exec </dev/null

undo=()

say() {
    printf '==> %s\n' "$*" >&2
}

fail() {
    printf 'Error: %s\n' "$*" >&2
    exit 1
}

# Runs a function or a command when the script ends; the last one registered runs first.
at_exit() {
    undo=("$(printf '%q ' "$@")" "${undo[@]}")
}

leave() {
    local status=$? step
    trap '' INT TERM HUP
    trap - EXIT
    set +e
    for step in "${undo[@]}"; do
        eval "$step"
    done
    exit "$status"
}

trap leave EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# Packages and engines are root's affair. What this leaves in the checkout is given back to its owner.
become_root() {
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || fail "run this as root, or install sudo"
        trap - EXIT
        exec sudo -E -H env "PATH=$PATH" bash "$0" "$@"
    fi
    if [ -n "${SUDO_UID:-}" ] && [ "$(stat -c %u "$project_dir")" = "$SUDO_UID" ]; then
        at_exit give_back
    fi
}

give_back() {
    find "$project_dir" -xdev -uid 0 -exec chown -h "$SUDO_UID:${SUDO_GID:-$SUDO_UID}" {} +
}

# --- packages -------------------------------------------------------------------------------------------------------

find_python() {
    local candidate
    for candidate in python3 python3.14 python3.13 python3.12 python3.11 /usr/bin/python3; do
        if "$candidate" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

is_installed() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# install_packages PROGRAM:PACKAGE... installs a package where its program is not found. Without a program the package counts.
install_packages() {
    local pair program package wanted=()
    for pair in "$@"; do
        program=${pair%%:*} package=${pair#*:}
        if [ -n "$program" ]; then
            command -v "$program" >/dev/null || wanted+=("$package")
        else
            is_installed "$package" || wanted+=("$package")
        fi
    done
    find_python >/dev/null || wanted+=(python3 python3-venv)
    [ ${#wanted[@]} -gt 0 ] || return 0
    command -v apt-get >/dev/null || fail "this installs with apt-get, which is not here; install yourself: ${wanted[*]}"
    say "installing ${wanted[*]}"
    deny_services
    apt_get update
    # Newer Debians have docker's client in a package of its own.
    if [[ " ${wanted[*]} " == *" docker.io "* ]] && apt-cache show docker-cli >/dev/null 2>&1; then
        wanted+=(docker-cli)
    fi
    apt_get install -y --no-install-recommends "${wanted[@]}"
    allow_services
    hash -r
}

apt_get() {
    local log
    log=$(mktemp)
    if ! DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 "$@" >"$log" 2>&1; then
        cat "$log" >&2
        rm -f "$log"
        fail "apt-get $1 failed"
    fi
    rm -f "$log"
}

# Debian starts the services of what it installs. They are not asked for here: what a script needs it starts itself.
deny_services() {
    [ ! -e /usr/sbin/policy-rc.d ] || return 0
    at_exit allow_services
    printf '#!/bin/sh\n# Made by conveyor for as long as it installs packages.\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod 755 /usr/sbin/policy-rc.d
    services_denied=1
}

allow_services() {
    [ -z "${services_denied:-}" ] || rm -f /usr/sbin/policy-rc.d
    services_denied=
}

# --- a user with subordinate ids ------------------------------------------------------------------------------------

# Has the user conveyor-test, who is not root and owns a range of ids, for the tests of the sandbox. The user stays.
make_user() {
    local file
    id conveyor-test >/dev/null 2>&1 || useradd --system --create-home --shell /usr/sbin/nologin conveyor-test
    for file in /etc/subuid /etc/subgid; do
        grep -q '^conveyor-test:' "$file" 2>/dev/null || echo "conveyor-test:524288:65536" >>"$file"
    done
}

# --- the virtual environment ----------------------------------------------------------------------------------------

# make_venv [EXTRA] has conveyor in .venv of the checkout, with what the extra brings; pip runs only when something changed.
make_venv() {
    local extra=${1:-} venv=$project_dir/.venv state stamp
    state=$(cat "$project_dir/pyproject.toml" <(printf '%s' "$project_dir") | sha256sum)
    for stamp in "$venv/.set-up-$extra" "$venv/.set-up-test"; do
        if [ -e "$stamp" ] && [ "$(cat "$stamp")" = "$state" ] && "$venv/bin/conveyor" version >/dev/null 2>&1; then
            return
        fi
    done
    say "installing conveyor${extra:+ with what its ${extra}s need} into .venv"
    if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
        "$(find_python)" -m venv --clear "$venv"
    fi
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable "$project_dir${extra:+[$extra]}"
    printf '%s\n' "$state" >"$venv/.set-up-$extra"
}

# --- the engine -----------------------------------------------------------------------------------------------------

engine_answers() {
    [ -n "$(timeout 30 docker info --format '{{.ServerVersion}}' 2>/dev/null)" ]
}

# Starts dockerd only where no engine answers: a second one would take the first one's bridge away.
start_engine() {
    if engine_answers; then
        say "a Docker Engine answers"
        return
    fi
    [ -z "${DOCKER_HOST:-}" ] || fail "DOCKER_HOST is $DOCKER_HOST, and no engine answers there"
    if is_running dockerd; then
        say "waiting for the Docker Engine that runs already"
        wait_until 60 engine_answers || fail "dockerd runs and does not answer; see its log, or \`docker info\`"
        return
    fi
    command -v dockerd >/dev/null || fail "there is no dockerd here; install docker.io"
    say "starting a Docker Engine"
    # A process id that was written before a restart may be another program's today, and dockerd would wait for that one.
    drop_stale_pid /run/docker.pid dockerd
    drop_stale_pid /run/docker/containerd/containerd.pid containerd
    if ! grep -q ' cgroup2\? ' /proc/mounts && command -v cgroupfs-mount >/dev/null; then
        cgroupfs-mount
    fi
    engine_log=$(mktemp)
    at_exit rm -f "$engine_log"
    # A session of its own: an interrupt from the terminal must reach the script, which still needs the engine to clean up.
    setsid dockerd >"$engine_log" 2>&1 </dev/null &
    engine_pid=$!
    at_exit stop_engine
    if ! wait_until 60 engine_answers_or_ended || ! engine_answers; then
        tail -n 30 "$engine_log" >&2
        fail "dockerd did not start (the end of its log is above)"
    fi
}

engine_answers_or_ended() {
    engine_answers || ! kill -0 "$engine_pid" 2>/dev/null
}

stop_engine() {
    kill -0 "$engine_pid" 2>/dev/null || return 0
    say "stopping the Docker Engine"
    kill "$engine_pid"
    wait_until 60 engine_ended || kill -KILL "$engine_pid"
    wait "$engine_pid" 2>/dev/null
}

engine_ended() {
    ! kill -0 "$engine_pid" 2>/dev/null
}

is_running() {
    local comm name
    for comm in /proc/[0-9]*/comm; do
        # A process may be gone by now.
        if { read -r name <"$comm"; } 2>/dev/null && [ "$name" = "$1" ]; then
            return 0
        fi
    done
    return 1
}

drop_stale_pid() {
    local file=$1 program=$2 pid
    [ -s "$file" ] || return 0
    pid=$(cat "$file")
    if [ "$(cat "/proc/$pid/comm" 2>/dev/null)" != "$program" ]; then
        rm -f "$file"
    fi
}

# wait_until SECONDS CONDITION
wait_until() {
    local deadline=$((SECONDS + $1))
    until "$2"; do
        [ "$SECONDS" -lt "$deadline" ] || return 1
        sleep 0.2
    done
}
