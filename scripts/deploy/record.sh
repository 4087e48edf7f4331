# shellcheck shell=bash disable=SC2034,SC2154 # names are shared with deploy.sh and undeploy.sh
# What deploy.sh made, in two books. Sourced, never run.
#
# The record is a ConfigMap in the platform's namespace: what deploy.sh has made there in all its runs. undeploy.sh removes what
# stands in it and nothing else. An entry is written before the thing is made: a run that is killed in between leaves an entry
# without a thing, which undeploy.sh passes over, and never a thing without an entry.
#
# The undo list lives as long as this run: how to take back what this run made, newest last. --rollback-on-failure works it off
# from its end.

record_name=otlp-deploy-record
undo_list=()
record_is_shown=no

record() { # record KEY VALUE: notes it, unless it is noted already
    local key=${1//./\\.}
    ask "${kubectl[@]}" get configmap "$record_name" --namespace "$namespace" --ignore-not-found -o "jsonpath={.metadata.name}={.data.$key}"
    [ "$answer" != "$record_name=$2" ] || return 0
    # A dry run begins with none and would create it before every entry.
    if [ -z "$answer" ] && [ "$record_is_shown" = no ]; then
        change "${kubectl[@]}" create configmap "$record_name" --namespace "$namespace"
        record_is_shown=$dry_run
    fi
    change "${kubectl[@]}" patch configmap "$record_name" --namespace "$namespace" --type merge --patch "{\"data\":{\"$1\":\"$2\"}}"
}

# recorded KEY: whether the record has it; its value is in $answer.
recorded() {
    ask "${kubectl[@]}" get configmap "$record_name" --namespace "$namespace" --ignore-not-found -o "jsonpath={.data.${1//./\\.}}"
    [ -n "$answer" ]
}

strike() { # strike KEY: takes it out of the record
    recorded "$1" || return 0
    change "${kubectl[@]}" patch configmap "$record_name" --namespace "$namespace" --type merge --patch "{\"data\":{\"$1\":null}}"
}

# undo STEP...: how to take back what is about to be made, as words: see take_back.
undo() {
    local IFS=$'\t'
    undo_list+=("$*")
}

# look_at_release RELEASE NAMESPACE: sets release_status (absent, deployed, failed, pending-...) and release_revision.
look_at_release() {
    release_status=absent
    release_revision=0
    [ "$cluster_reachable" = yes ] || return 0
    if "${helm[@]}" status "$1" --namespace "$2" >"$work/status" 2>"$work/output"; then
        release_status=$(sed -n 's/^STATUS: *//p' "$work/status" | head -n 1)
        release_revision=$(sed -n 's/^REVISION: *//p' "$work/status" | head -n 1)
    elif ! grep -q 'not found' "$work/output"; then
        last_command=$(quoted "${helm[@]}" status "$1" --namespace "$2")
        fail "\`$last_command\` failed"
    fi
}

# install_release KEY RELEASE NAMESPACE PROGRESS CHART ARGUMENTS...: installs or upgrades a Helm release, and notes what it made.
install_release() {
    local key=$1 release=$2 in=$3 progress=$4
    shift 4
    look_at_release "$release" "$in"
    case $release_status in
        absent)
            record "$key" "$in/$release"
            undo uninstall "$release" "$in" "$key"
            ;;
        pending-install)
            fail "Helm's release $release in $in is '$release_status': another helm is at work on it, or one was interrupted" \
                "if no other is at work: $(quoted "${helm[@]}" uninstall "$release" --namespace "$in")"
            ;;
        pending-*)
            fail "Helm's release $release in $in is '$release_status': another helm is at work on it, or one was interrupted" \
                "if no other is at work: $(quoted "${helm[@]}" rollback "$release" --namespace "$in")"
            ;;
        deployed) undo rollback "$release" "$in" "$release_revision" ;;
        # There is nothing good to go back to.
        *) say "release $release is '$release_status' since an earlier run: trying again" ;;
    esac
    change_slowly "$progress" "${helm[@]}" upgrade --install "$release" "$@" --namespace "$in" --timeout "$timeout"
}

# take_back STEP...: one line of the undo list.
take_back() {
    case $1 in
        uninstall)
            look_at_release "$2" "$3"
            [ "$release_status" = absent ] || change_slowly "pods_progress $3" "${helm[@]}" uninstall "$2" --namespace "$3" --wait --timeout "$timeout"
            strike "$4"
            ;;
        rollback)
            look_at_release "$2" "$3"
            [ "$release_revision" -le "$4" ] ||
                change_slowly "pods_progress $3" "${helm[@]}" rollback "$2" "$4" --namespace "$3" --wait --timeout "$timeout"
            ;;
        secret)
            change "${kubectl[@]}" delete secret "$3" --namespace "$2" --ignore-not-found
            strike "$4"
            ;;
        gateway)
            if exists crd "$2"; then change "${kubectl[@]}" delete "$2" otlp --namespace "$3" --ignore-not-found; fi
            strike "$4"
            ;;
        class)
            if exists crd "$2"; then change "${kubectl[@]}" delete "$2" "$3" --ignore-not-found; fi
            strike "$4"
            ;;
        labels) # the namespace, then KEY=VALUE as it was, or KEY- where there was none
            change "${kubectl[@]}" label namespace "${@:2}" --overwrite
            ;;
        annotations) change "${kubectl[@]}" annotate namespace "${@:2}" --overwrite ;;
        namespace)
            change_slowly "pods_progress $2" "${kubectl[@]}" delete namespace "$2" --ignore-not-found --timeout "$timeout"
            if [ "$2" != "$namespace" ]; then strike "$3"; fi
            ;;
    esac
}

# roll_back: works off the undo list. One step that fails does not keep the others from being tried.
roll_back() {
    local position words failed=0
    printf '\nrolling back what this run made\n'
    if [ "${#undo_list[@]}" = 0 ]; then say "it made nothing"; fi
    for ((position = ${#undo_list[@]} - 1; position >= 0; position--)); do
        IFS=$'\t' read -r -a words <<<"${undo_list[position]}"
        # A subshell, so that `fail` ends this step alone.
        (
            trap - EXIT
            take_back "${words[@]}"
        ) || {
            failed=$((failed + 1))
            sed 's/^/    /' "$work/output" | tail -n 5
            warn "could not undo: ${words[*]}"
        }
    done
    return "$failed"
}
