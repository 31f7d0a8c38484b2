# What the scripts of a run print: the probe. issuebox/domain/probe.py reads it. Nothing here writes.

# Prints the size of a file. Only of regular ones: a job may have made a pipe of it, which would block who reads it.
size() { [ -f "$1" ] && set -- $(ls -Lln "$1" 2>/dev/null) && echo "${5:-0}" || echo 0; }
# Prints base64, for which POSIX has no command: at most $1 bytes of the file $3 from the offset $2, or of the input.
encode() {
    od -An -v -tx1 -N "$1" ${3:+-j "$2" "$3"} 2>/dev/null | LC_ALL=C awk '
        BEGIN { for (i = 0; i < 256; i++) byte[sprintf("%02x", i)] = i
            digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/" }
        function digit(place) { return substr(digits, int(word / place) % 64 + 1, 1) }
        { for (i = 1; i <= NF; i++) { word = word * 256 + byte[$i]
            if (++n == 3) { printf "%s", digit(262144) digit(4096) digit(64) digit(1); n = word = 0 } } }
        END { if (n == 1) { word *= 65536; printf "%s", digit(262144) digit(4096) "==" }
            if (n == 2) { word *= 256; printf "%s", digit(262144) digit(4096) digit(64) "=" } }'
}
part() { [ ! -f "$3" ] || encode "$@"; }
# Prints the last $1 bytes of the file $2.
last() { from=$(($(size "$2") - $1)); part "$1" "$((from > 0 ? from : 0))" "$2"; }
progress() { [ ! -f "$dir/progress" ] || tail -c 4096 "$dir/progress" | tail -n 1 | tr -d '\n' | encode 300; }
# Prints all lines of a probe but the last. $1: an offset in `out`. $2: how many bytes from there, 0 for none.
# Silent about files that it may not read: the daemon puts both outputs together, and a complaint would be a line.
report() {
    find_phase
    echo "issuebox probe 1"
    echo "phase $phase"
    [ -z "$orphan" ] || echo orphan
    [ "$phase" != ended ] || { read -r code why at _ <"$dir/exit"; printf 'exit %s %s %s\n' "$code" "$why" "$at"; }
    sed -n 's/^oom_kill /oom /p' /sys/fs/cgroup/memory.events
    echo "out $(size "$dir/out")"
    echo "err $(size "$dir/err")"
    echo "progress $(progress)"
    [ "$2" -eq 0 ] || echo "data $1 $(part "$2" "$1" "$dir/out")"
} 2>/dev/null
probe() { report 0 0; echo "issuebox end"; }
