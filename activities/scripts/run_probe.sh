# Says how an attempt is, and what it has written. Changes nothing.
# $1: the run. $2: the attempt. $3: an offset in `out`. $4: how many bytes from there; 0 for none.
run=$1 attempt=$2 dir=$HOME/.issuebox/runs/$1/$2
report "${3:-0}" "${4:-0}"
echo "issuebox end"
