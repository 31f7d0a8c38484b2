# Moves a whole clone to its place, unless something is there by now. Safe to repeat.
# $1: the directory of the clone, a name under the home directory. $2: the name of this attempt.
set -eu
cd -- "$HOME"
partial=.issuebox/clone.partial/$2
# With -T, a directory that has appeared meanwhile is not moved into. A busybox without it has to be asked first.
mv -T -- "$partial" "$1" 2>/dev/null || [ -e "$1" ] || mv -- "$partial" "$1"
rm -rf .issuebox/clone.partial || :
[ -e "$1/.git" ] || { echo "~/$1 is no git repository"; exit 3; }
