# What all scripts of a run share. It stands in front of each of them; its variables are run, attempt and dir.

# Prints the processes that carry the mark of this attempt in their environment: a job starts sessions of its own.
# $1: "job", or "all" for the supervisor and its helpers, too. A zombie shows no environment, so it is none of them.
# head names each file before its content, so three processes read all environments.
marked() {
    head -n 99999999 /proc/[0-9]*/environ 2>/dev/null | tr '\000' '\n' | LC_ALL=C awk -v run="ISSUEBOX_RUN=$run" \
        -v attempt="ISSUEBOX_RUN_ATTEMPT=$attempt" -v mine="$1 ISSUEBOX_SUPERVISOR=$run/$attempt" '
        function tell() { if (pid && is_marked && !is_other) print pid; is_marked = is_other = 0 }
        /^==> \/proc\/[0-9]+\/environ <==$/ { tell(); split($2, path, "/"); pid = path[3]; next }
        $0 == run || ("all " $0) == mine { is_marked = 1 }
        /^ISSUEBOX_RUN_ATTEMPT=/ && $0 != attempt { is_other = 1 }
        END { tell() }'
}
# Prints "<pid> <start time>" of the process $1. The name before the last ")" may hold anything.
record() { read -r stat <"/proc/$1/stat" && pid=$1 && set -- ${stat##*) } && echo "$pid ${20}"; }
# Whether the process lives that $1 records. Its number may be another's by now, with another start time.
is_alive() {
    read -r pid start 2>/dev/null <"$dir/begun/$1" && read -r stat 2>/dev/null <"/proc/$pid/stat" || return 1
    set -- ${stat##*) }
    [ "${20:-}" = "$start" ] && [ "$1" != Z ] && [ "$1" != X ]
}
# Sets phase and orphan. A supervisor that has only just claimed has no record yet, but its mark. So whether there is
# a record is asked before it is read.
find_phase() {
    phase=absent orphan= recorded=
    [ -d "$dir" ] || return 0
    phase=prepared
    [ -e "$dir/begun" ] || return 0
    phase=running
    [ ! -s "$dir/begun/supervisor" ] || recorded=yes
    [ -f "$dir/exit" ] || is_alive supervisor ||
        if is_alive job || [ -n "$(marked all)" ]; then orphan=$recorded; else phase=dead; fi
    # Last, because it may have ended meanwhile.
    [ ! -f "$dir/exit" ] || phase=ended orphan=
}
pause() { sleep 0.1 2>/dev/null || sleep 1; }
# Seconds that no change of the clock moves.
seconds() { read -r now _ </proc/uptime && now=${now%.*}; }
