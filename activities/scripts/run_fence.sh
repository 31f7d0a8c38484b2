# Makes sure that nothing of an attempt runs, and that nothing of it will. Safe to repeat.
# $1: the run. $2: the attempt.
run=$1 attempt=$2 dir=$HOME/.issuebox/runs/$1/$2
# A BEGIN that comes later finds the claim taken; a supervisor that has claimed, but not yet written its record, finds
# that one taken. No process has the number 0.
mkdir -p "$dir" 2>/dev/null
mkdir "$dir/begun" 2>/dev/null
(set -C; echo "0 0" >"$dir/begun/supervisor") 2>/dev/null
if [ ! -e "$dir/begun/supervisor" ]; then
    echo "the run cannot be fenced: ~/.issuebox cannot be written"
    probe
    exit 1
fi
# First the supervisor: it has nothing left to do. Each by its record, and with the group that it leads, because a job
# can clear its environment.
for kind in supervisor watcher job; do
    ! is_alive "$kind" || kill -s KILL -- "-$pid" 2>/dev/null || kill -s KILL "$pid" 2>/dev/null
done
sweep 0 20 all
probe
