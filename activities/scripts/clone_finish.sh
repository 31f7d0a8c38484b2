# Moves a whole clone to its place, unless something is there by now. Safe to repeat.
# $1: the directory of the clone, a name under the home directory. $2: the name of this attempt.
set -eu
cd -- "$HOME"
partial=.issuebox/clone.partial/$2
# -T keeps mv from moving into a directory that has appeared meanwhile. For a busybox without -T, test first.
mv -T -- "$partial" "$1" 2>/dev/null || [ -e "$1" ] || mv -- "$partial" "$1"
rm -rf .issuebox/clone.partial || :
[ -e "$1/.git" ] || { echo "~/$1 is no git repository"; exit 3; }
