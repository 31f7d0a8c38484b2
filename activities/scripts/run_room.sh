# Makes room for the files of an attempt, unless they are in place. Safe to repeat.
# $1: the run. $2: the attempt. $3: a name of this try, as no other try has it.
run=$1 attempt=$2 dir=$HOME/.issuebox/runs/$1/$2
if [ ! -e "$dir" ]; then
    # The directory inside has its final name already: run_place.sh says why.
    # What other tries left stays until one of them is in place. This one may be the late one.
    mkdir -p "$dir.partial-$3/$attempt" && chmod 700 "$dir.partial-$3" "$dir.partial-$3/$attempt" ||
        { echo "the run cannot be prepared: ~/.issuebox cannot be written"; exit 1; }
    echo "issuebox room $dir.partial-$3/$attempt"
fi
# What lives here of another run, which its workflow has forgotten.
for begun in "$HOME"/.issuebox/runs/*/*/begun; do
    other=${begun%/begun}
    [ -d "$begun" ] && [ "$other" != "$dir" ] && [ ! -f "$other/exit" ] || continue
    (
        dir=$other attempt=${other##*/} run=${other%/*}
        run=${run##*/}
        find_phase
        [ "$phase" != running ] || echo "issuebox other $run $attempt"
    )
done
probe
