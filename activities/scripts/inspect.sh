# Looks for git repositories, and in each for work that is nowhere else. Changes nothing.
# $1: the script for what was found. $2: how many levels deep. $3: how many repositories.
# $4: seconds for one question to git. The others: where to look; ~ is the home directory.
#
# The report is lines of five fields between tabs: issuebox, kind, count, place, detail. The last is `end`:
# a report without it was cut off. issuebox/domain/inspection.py reads it.
visit=$1 depth=$2
export LC_ALL=C ISSUEBOX_REPOSITORIES_MAX="$3" ISSUEBOX_SECONDS="$4" ISSUEBOX_PLACE
shift 4

# A name may hold anything: what would end a line or a field, or write to a terminal, becomes a question mark.
record() {
    printf 'issuebox\t%s\t%s\t%s\t%s\n' "$1" "$2" "$(printf '%s' "$3" | tr '\001-\037\177' '?')" "$4"
}

# A directory that cannot be entered hides what is in it, and then nothing can be said of the path.
is_hidden() {
    near=$1
    while [ ! -e "$near" ]; do near=$(dirname -- "$near"); done
    [ ! -x "$near" ]
}

for ISSUEBOX_PLACE in "$@"; do
    case $ISSUEBOX_PLACE in
        "~") path=$HOME ;;
        "~/"*) path=$HOME/${ISSUEBOX_PLACE#"~/"} ;;
        *) path=$ISSUEBOX_PLACE ;;
    esac
    if [ ! -e "$path" ]; then
        ! is_hidden "$path" || record unchecked 1 "$ISSUEBOX_PLACE" "cannot be read"
    elif ! cd -- "$path"; then
        record unchecked 1 "$ISSUEBOX_PLACE" "cannot be read"
    else
        # Pruned: copies of others' repositories that tools keep for themselves, and our own half clones.
        find . -maxdepth "$depth" \
            \( -name node_modules -o -path ./.cache -o -path ./.cargo -o -path ./.rustup -o -path ./.npm \
            -o -path ./.nvm -o -path ./go/pkg -o -path ./.issuebox \) -prune \
            -o -name .git -prune -exec sh -c "$visit" issuebox-visit {} + ||
            record unchecked 1 "$ISSUEBOX_PLACE" "could not be searched to the end"
    fi
done
record end 0 "" ""
