# Puts the files of an attempt in their place, unless another's are there. Safe to repeat.
# $1: the run. $2: the attempt. $3: the name of this try.
# `mv <directory> <target>` would move into a target that has appeared meanwhile, and not every mv has -T. Into the
# directory around it, a directory of the same name is one rename, which fails when the target holds anything.
run=$1 attempt=$2 dir=$HOME/.issuebox/runs/$1/$2
[ -e "$dir" ] || mv "$dir.partial-$3/$attempt" "$HOME/.issuebox/runs/$run/" 2>/dev/null
if [ -d "$dir" ]; then
    rm -rf "$dir".partial-*
    probe
else
    echo "the files of the run could not be put in place"
    probe
    exit 1
fi
