# Runs the job of one attempt, once. Uploaded as the file `supervise` and started as
# `sh <dir>/supervise <dir> RUN ATTEMPT [PID]`. PID: the shell that waits for this one, ended when the job is claimed.
# It runs the job in the foreground: behind `&` a shell makes it ignore SIGINT, and no shell can undo that.
dir=$1 run=$2 attempt=$3
if [ "${4:-}" = job ]; then
    record $$ >"$dir/begun/job" || exit 126
    setting directory .
    cd -- "$HOME/$value" || exit 126
    exec sh "$dir/command"
fi

# Keeps the time limit, and ends the job in order when it is asked to. Goes on without the supervisor, if that is killed.
watch() {
    trap 'note stopped' TERM
    setting time_limit_s 3600
    seconds
    limit=$((now + value))
    while is_alive supervisor || is_alive job; do
        seconds
        [ "$now" -lt "$limit" ] || note time_limit
        [ ! -e "$dir/why" ] || end_in_order 999999
        sleep 0.5 2>/dev/null || sleep 1
    done
}

# The claim. Who comes later has nothing to do.
mkdir "$dir/begun" 2>/dev/null || { [ -d "$dir/begun" ]; exit; }
# Nothing may fail from here to the job, or there is none. A fence that finds no record creates it, and then this fails.
# `exit` is written over the room that it gets here, so that a job which fills the disk cannot hide its end.
set -C
record $$ >"$dir/begun/supervisor" && date +%s >"$dir/begun/at" && printf '%63s\n' '' >"$dir/begun/exit" &&
    true >"$dir/out" && true >"$dir/err" && echo "$run $attempt $(date +%s)" >>"$HOME/.issuebox/ledger" || exit 1
set +C
# A signal that is ignored would be ignored by the job, too. One that is caught is not.
trap : HUP INT
trap 'note stopped' TERM
watch &
watcher=$!
record "$watcher" >"$dir/begun/watcher"
[ "${4:-}" != "$PPID" ] || kill -s KILL "$4"
(
    unset ISSUEBOX_SUPERVISOR
    export ISSUEBOX_RUN="$run" ISSUEBOX_RUN_ATTEMPT="$attempt" ISSUEBOX_RUN_DIR="$dir"
    exec $(command -v setsid) sh "$dir/supervise" "$dir" "$run" "$attempt" job
) </dev/null >"$dir/out" 2>"$dir/err"
code=$? why=finished
# The signal that stops a sandbox may reach this shell a moment after it has ended the job.
pause
[ ! -e "$dir/why" ] || read -r why <"$dir/why" || why=interrupted
kill -s KILL "$watcher"
setting terminate_grace_s 10
until sweep "$value" 999999 job; do :; done
# What has cleared its environment, but stayed in the job's group.
read -r pid _ <"$dir/begun/job" && kill -s KILL -- "-$pid"
printf '%-63s\n' "$code $why $(date +%s)" 1<>"$dir/begun/exit" && mv "$dir/begun/exit" "$dir/exit"
