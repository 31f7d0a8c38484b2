# Says whether the clone is there already, and makes room for one when it is not. Safe to repeat.
# $1: the directory of the clone, a name under the home directory.
set -eu
cd -- "$HOME"
if [ -e "$1" ] || [ -L "$1" ]; then
    # Only whole clones are moved here. What is none is somebody's: it is left alone, and said.
    [ -e "$1/.git" ] || { echo "~/$1 exists and is no git repository"; exit 3; }
    echo "issuebox present"
    exit 0
fi
# The clone of a worker that died may still be going on, and write while its directory is removed. It is never
# moved to its place: each attempt has a directory of its own, and what is left here goes with the next removal.
rm -rf .issuebox/clone.partial || :
mkdir -p .issuebox/clone.partial
printf 'issuebox absent %s\n' "$(pwd)/.issuebox/clone.partial"
