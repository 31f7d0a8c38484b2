# Finds git repositories, and in each the work that is nowhere else. Changes nothing.
# $1: the script for each repository. $2: how many levels deep. $3: how many repositories.
# $4: seconds for one git command. The others: paths to search; ~ is the home directory.
#
# Each line of the report has five fields, separated by tabs: issuebox, kind, count, place, detail. The last line is
# `end`: a report without it was cut off. issuebox/domain/unsaved_work.py reads it.
visit=$1 depth=$2
export LC_ALL=C ISSUEBOX_REPOSITORIES_MAX="$3" ISSUEBOX_SECONDS="$4" ISSUEBOX_PLACE
shift 4

# A name may contain anything: control characters, which end a line or field or drive a terminal, become '?'.
record() {
    printf 'issuebox\t%s\t%s\t%s\t%s\n' "$1" "$2" "$(printf '%s' "$3" | tr '\001-\037\177' '?')" "$4"
}

# A directory that cannot be entered hides its content, so the path below it is unknown.
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
        # Pruned: copies of other repositories that tools keep, and our own unfinished clones.
        find . -maxdepth "$depth" \
            \( -name node_modules -o -path ./.cache -o -path ./.cargo -o -path ./.rustup -o -path ./.npm \
            -o -path ./.nvm -o -path ./go/pkg -o -path ./.issuebox \) -prune \
            -o -name .git -prune -exec sh -c "$visit" issuebox-visit {} + ||
            record unchecked 1 "$ISSUEBOX_PLACE" "could not be searched to the end"
    fi
done
record end 0 "" ""
