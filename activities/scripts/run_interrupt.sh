# Ends a job in order, and waits for its end. Safe to repeat, and to repeat with less patience.
# $1: the run. $2: the attempt. $3: why, one word. $4: after so many seconds what is left is killed; 0 for at once.
run=$1 attempt=$2 dir=$HOME/.issuebox/runs/$1/$2
waits() { find_phase && seconds && [ "$phase" = running ] && [ "$((now - asked))" -lt "$1" ]; }
find_phase
if [ "$phase" = running ]; then
    seconds
    asked=$now
    note "$3"
    # The watcher sees it. When that was killed, this is what it would do.
    while waits "$4"; do is_alive watcher || end_in_order "$4"; pause; done
    [ "$phase" != running ] || sweep 0 15 job
    while waits 45; do pause; done
fi
probe
