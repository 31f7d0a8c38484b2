# Reports whether the clone is there already, and makes room for one when it is not. Safe to repeat.
# $1: the directory of the clone, a name under the home directory.
set -eu
cd -- "$HOME"
if [ -e "$1" ] || [ -L "$1" ]; then
    # Only whole clones are moved here. Anything else belongs to somebody: leave it alone and report it.
    [ -e "$1/.git" ] || { echo "~/$1 exists and is no git repository"; exit 3; }
    echo "issuebox present"
    exit 0
fi
# The clone of a dead worker may still run and write while its directory is removed. It is never moved to its
# place: each attempt has its own directory, and the next attempt removes what is left here.
rm -rf .issuebox/clone.partial || :
mkdir -p .issuebox/clone.partial
printf 'issuebox absent %s\n' "$(pwd)/.issuebox/clone.partial"
