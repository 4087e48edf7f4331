# shellcheck shell=bash disable=SC2034,SC2154 # names are shared with deploy.sh and undeploy.sh
# How deploy.sh and undeploy.sh run commands and talk about them. Sourced, never run.
#
# Whatever changes the cluster goes through `change`, `change_with_input` or `change_slowly`; a dry run shows the command and does
# not run it. Whatever only asks runs in a dry run too. So "a dry run changes nothing" is decided in this file alone.

# What the options say; deploy.sh and undeploy.sh set them.
dry_run=no
assume_yes=no
verbose=no
timeout=10m
kubectl=(kubectl)
helm=(helm)
# "no" in a dry run that finds no cluster: everything then counts as absent.
cluster_reachable=yes

work=$(mktemp -d)
# Process id of the command that runs in the background, to be stopped with the script.
child=
# What the report of a failure says.
reason=
remedy=
last_command=

duration() { # duration SECONDS: "42 s", "3 min 5 s"
    if [ "$1" -lt 60 ]; then printf '%d s' "$1"; else printf '%d min %d s' $(($1 / 60)) $(($1 % 60)); fi
}

seconds() { # seconds DURATION: 90, of 90s, 90 or 1m30s; nothing if it is no duration
    local rest=$1 total=0
    [[ $rest =~ ^[0-9]+$ ]] && rest+=s
    while [[ $rest =~ ^([0-9]+)([smh])(.*)$ ]]; do
        case ${BASH_REMATCH[2]} in
            s) total=$((total + BASH_REMATCH[1])) ;;
            m) total=$((total + BASH_REMATCH[1] * 60)) ;;
            h) total=$((total + BASH_REMATCH[1] * 3600)) ;;
        esac
        rest=${BASH_REMATCH[3]}
    done
    if [ -z "$rest" ] && [ "$total" -gt 0 ]; then printf '%d' "$total"; fi
}

quoted() { # quoted COMMAND...: the command as one can type it
    local word out=
    for word in "$@"; do
        if ! [[ $word =~ ^[A-Za-z0-9_./:=,@%+-]+$ ]]; then word="'${word//\'/\'\\\'\'}'"; fi
        out+=" $word"
    done
    printf '%s' "${out# }"
}

# json_list TEXT...: the elements of a JSON list; empty and repeated ones are left out.
json_list() { printf '%s\n' "$@" | awk 'NF && !seen[$0]++ { printf "%s\"%s\"", comma, $0; comma = "," }'; }

say() { printf '    %s\n' "$*"; }
warn() { printf '    warning: %s\n' "$*" >&2; }

# fail REASON [REMEDY]: ends the script; the report says both. Never call it in a subshell.
fail() {
    reason=$1
    remedy=${2:-}
    exit 1
}

# usage_error TEXT: ends the script with code 2. No report: nothing was begun.
usage_error() {
    step=none
    printf 'error: %s\n(%s --help lists the options)\n' "$1" "$0" >&2
    exit 2
}

show() {
    last_command=$(quoted "$@")
    printf '  + %s\n' "$last_command"
}

# failed_with CODE: the command shown last has failed, and what it said is in $work/output.
failed_with() {
    fail "\`$last_command\` ended with code $1${2:+ ($2)}"
}

# change COMMAND...: shows and runs it. What it prints is kept for the report of a failure.
change() {
    show "$@"
    [ "$dry_run" = no ] || return 0
    "$@" >"$work/output" 2>&1 </dev/null || failed_with $?
    if [ "$verbose" = yes ]; then sed 's/^/    /' "$work/output"; fi
}

# change_with_input TEXT COMMAND...: as `change`, with a text on standard input that is never shown: a secret must neither be
# printed nor be an argument, which every user of the machine can read.
change_with_input() {
    local input=$1
    shift
    show "$@"
    [ "$dry_run" = no ] || return 0
    printf '%s' "$input" | "$@" >"$work/output" 2>&1 || failed_with $?
}

# change_slowly PROGRESS COMMAND...: as `change`, for what takes minutes. PROGRESS is a command that prints one line on how far it
# is; that line appears every ten seconds (PROGRESS_SECONDS), with the time it took so far.
change_slowly() {
    local progress=$1 from=$SECONDS every=${PROGRESS_SECONDS:-10} next line code=0 looks=0
    shift
    show "$@"
    [ "$dry_run" = no ] || return 0
    next=$every
    "$@" >"$work/output" 2>&1 </dev/null &
    child=$!
    while kill -0 "$child" 2>/dev/null; do
        # Much of this takes a moment only, because nothing is new.
        looks=$((looks + 1))
        if [ "$looks" -lt 20 ]; then sleep 0.05; else sleep 0.5; fi
        if [ $((SECONDS - from)) -ge "$next" ]; then
            line=$($progress 2>/dev/null) || line=
            say "$(duration $((SECONDS - from)))${line:+: $line}"
            next=$((next + every))
        fi
    done
    wait "$child" || code=$?
    child=
    [ "$code" = 0 ] || failed_with "$code" "after $(duration $((SECONDS - from)))"
    if [ "$verbose" = yes ]; then sed 's/^/    /' "$work/output"; fi
}

# ask COMMAND...: a question to the cluster; its answer is in $answer. It must be one that succeeds when there is nothing.
ask() {
    answer=
    [ "$cluster_reachable" = yes ] || return 0
    answer=$("$@" 2>"$work/output" </dev/null) || {
        local code=$?
        last_command=$(quoted "$@")
        failed_with "$code" "it only asks"
    }
}

# exists ARGUMENTS of kubectl get...: whether such an object is there.
exists() {
    ask "${kubectl[@]}" get "$@" --ignore-not-found -o name
    [ -n "$answer" ]
}

confirm() { # confirm QUESTION: yes without a question with --yes and in a dry run
    local reply=
    if [ "$assume_yes" = yes ] || [ "$dry_run" = yes ]; then return 0; fi
    [ -t 0 ] || usage_error "there is no terminal to ask on: say --yes"
    printf '%s [y/N] ' "$1"
    read -r reply || true
    [[ $reply =~ ^[Yy]([Ee][Ss])?$ ]]
}

# pods_progress NAMESPACE: one line on the pods of a namespace.
pods_progress() {
    "${kubectl[@]}" get pods --namespace "$1" --no-headers 2>/dev/null | awk '
        $3 == "Completed" { next }
        { all++; split($2, part, "/") }
        $3 == "Running" && part[1] == part[2] { ready++; next }
        waiting == "" { waiting = $1 " (" $3 ", " $2 ")" }
        END {
            if (all == 0) print "no pods yet"
            else print ready + 0 " of " all " pods ready" (waiting == "" ? "" : ", waiting for " waiting)
        }'
}

# need_tools COMMAND...: all that are missing, in one message.
need_tools() {
    local tool missing=()
    for tool in "$@"; do command -v "$tool" >/dev/null || missing+=("$tool"); done
    [ "${#missing[@]}" = 0 ] || fail "missing on this machine: ${missing[*]}" "install them and run the same command again"
}

stop_child() {
    if [ -n "$child" ]; then
        kill -TERM "$child" 2>/dev/null || true
        wait "$child" 2>/dev/null || true
        child=
    fi
}
