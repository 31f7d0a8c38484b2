# How a job is ended. The watcher of the supervisor, an interrupt and a fence share it.

# Sets value to the setting $1, or to $2 without one.
setting() {
    while IFS='=' read -r name value; do [ "$name" != "$1" ] || return 0; done 2>/dev/null <"$dir/settings"
    value=$2
}
# Says why the job is being ended. The first word stays: noclobber creates the file or fails.
note() { (set -C; echo "$1" >"$dir/why") 2>/dev/null; }
# Ends what is marked: SIGTERM, after $1 seconds SIGKILL, for $2 seconds at most. Fails when something is left.
# $3: "job", or "all" for the supervisor, too.
# Two searches in a row must find nothing: a process that is just executing shows no environment for a moment.
sweep() {
    seconds
    begin=$now signal=TERM
    while pids=$(marked "$3"); [ -n "$pids" ] || { pause; pids=$(marked "$3"); [ -n "$pids" ]; }; do
        seconds
        [ "$((now - begin))" -lt "$2" ] || return 1
        [ "$((now - begin))" -lt "$1" ] || signal=KILL
        kill -s "$signal" $pids 2>/dev/null
        # SIGTERM is sent once: to many programs a second one means "at once".
        signal=0
        pause
    done
}
# The signal that the command understands, then SIGTERM, then SIGKILL. $1: seconds at most for the last two.
end_in_order() {
    setting interrupt_signal INT
    signal=$value
    setting interrupt_grace_s 15
    if is_alive job; then
        # Like Ctrl-C: to the group that the job leads. Where there is no setsid it leads none: then to all of it.
        kill -s "$signal" -- "-$pid" 2>/dev/null || kill -s "$signal" $(marked job) 2>/dev/null
        seconds
        until=$((now + value))
        while is_alive job && [ "$now" -lt "$until" ]; do pause; seconds; done
    fi
    setting terminate_grace_s 10
    sweep "$value" "$1" job
}
