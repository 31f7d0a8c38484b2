# Begins an attempt, unless it has begun. Safe to repeat, also at the same time: the supervisor's claim decides.
# $1: the run. $2: the attempt. The environment of this request becomes the job's.
run=$1 attempt=$2 dir=$HOME/.issuebox/runs/$1/$2
find_phase
if [ "$phase" = prepared ]; then
    # The supervisor ends the shell that waits for it, and so is alone. `&` would be shorter, but what is started so
    # ignores SIGINT for ever. The streams are closed, or the daemon would wait for them.
    { ISSUEBOX_SUPERVISOR=$run/$attempt sh -c '$(command -v setsid) sh "$1/supervise" "$@" $$; exit $?' \
        issuebox-starter "$dir" "$run" "$attempt" </dev/null >/dev/null 2>&1; } 2>/dev/null
    code=$? tries=0
    # 0: another claims at this moment. 1 and the like: nobody can.
    while find_phase && [ "$phase" = prepared ] && [ "$code" -eq 0 ] && [ "$tries" -lt 50 ]; do
        pause
        tries=$((tries + 1))
    done
    [ "$phase" != prepared ] || echo "the run cannot begin: its files under ~/.issuebox cannot be read or written"
fi
probe
[ "$phase" != prepared ]
