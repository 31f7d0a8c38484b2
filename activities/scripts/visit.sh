# Asks git what would be lost with each repository. inspect.sh runs it with the .git of each as an argument.
# Whatever git does not answer is reported as unchecked.
export GIT_OPTIONAL_LOCKS=0 GIT_TERMINAL_PROMPT=0 GIT_NO_LAZY_FETCH=1
unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE GIT_COMMON_DIR GIT_NAMESPACE GIT_OBJECT_DIRECTORY
# Names are read from lists below; none of them is a pattern.
set -f
limit=
! timeout 5 sh -c : || limit="timeout $ISSUEBOX_SECONDS"
line='
'
commons=$line tops=$line others=

ask() { $limit git -C "$top" -c safe.directory='*' -c core.fsmonitor=false "$@" </dev/null; }
plain() { printf '%s' "$1" | tr '\001-\037\177' '?'; }
record() { printf 'issuebox\t%s\t%s\t%s\t%s\n' "$1" "$2" "$(plain "$name")" "$(plain "$3")"; }
lost() { record unchecked 1 "git did not report $1"; }
lines() { [ -z "$1" ] && echo 0 || echo $(($(printf '%s\n' "$1" | wc -l))); }

# $1: the directory of the repository. $2: its name in the report.
visit() {
    top=$1 name=$2
    here=$(cd -- "$top" && pwd -P) || { lost "anything: the directory cannot be read"; return; }
    case $tops in *"$line$here$line"*) return ;; esac
    tops=$tops$here$line
    [ $(($(printf '%s' "$tops" | wc -l))) -le $((ISSUEBOX_REPOSITORIES_MAX + 1)) ] || { full=yes; return; }
    record repository 1 ""
    own=$(ask rev-parse --absolute-git-dir) || { lost "anything: the repository cannot be read"; return; }
    common=$(ask rev-parse --git-common-dir) || { lost "where its branches are"; return; }
    case $common in /*) ;; *) common=$here/$common ;; esac
    common=$(cd -- "$common" && pwd -P) || { lost "where its branches are"; return; }
    bare=$(ask rev-parse --is-bare-repository) || { lost "whether it is bare"; return; }
    # With an empty or broken .git, git finds the repository around it, which is visited separately.
    [ "$bare" = true ] || [ "$(ask rev-parse --show-toplevel)" = "$here" ] || { lost "what belongs to it"; return; }
    look_at_files
    look_for_operations
    find_head || return
    find_remotes || return
    look_at_head
    # Worktrees of one repository share all of this: report it once.
    case $commons in *"$line$common$line"*) return ;; esac
    commons=$commons$common$line
    look_at_branches
    look_at_stashes
    find_worktrees
}

look_at_files() {
    [ "$bare" = false ] || return
    files=$(ask status --porcelain --untracked-files=normal --ignore-submodules=none) ||
        { lost "which files have changed"; return; }
    [ -z "$files" ] || record uncommitted "$(lines "$files")" ""
}

look_for_operations() {
    for mark in rebase-merge:rebase rebase-apply:rebase MERGE_HEAD:merge CHERRY_PICK_HEAD:cherry-pick REVERT_HEAD:revert; do
        [ ! -e "$own/${mark%:*}" ] || record busy 1 "${mark#*:}"
    done
}

# head: the commit that is checked out, empty before the first commit. branch: empty when detached.
find_head() {
    head=$(ask rev-parse -q --verify 'HEAD^{commit}')
    case $? in 0 | 1) ;; *) lost "what is checked out"; return 1 ;; esac
    branch=$(ask symbolic-ref -q HEAD)
    case $? in 0 | 1) ;; *) lost "which branch is checked out"; return 1 ;; esac
}

# elsewhere: what git has seen of remotes outside of this sandbox. A remote on its own disk would be lost with it.
find_remotes() {
    elsewhere=
    remotes=$(ask remote) || { lost "its remotes"; return 1; }
    for remote in $remotes; do
        case $remote in *[!A-Za-z0-9._/-]*) continue ;; esac
        url=$(ask remote get-url "$remote") || continue
        case $url in
            file://*) ;;
            *://*) elsewhere="$elsewhere --remotes=$remote" ;;
            # host:path, unless a slash before the colon makes it a path.
            *:*) case ${url%%:*} in */*) ;; *) elsewhere="$elsewhere --remotes=$remote" ;; esac ;;
        esac
    done
}

# $elsewhere is a list of words.
look_at_head() {
    [ -n "$head" ] && [ -z "$branch" ] || return
    count=$(ask rev-list --count HEAD --not --branches $elsewhere) || { lost "which commits are on no branch"; return; }
    [ "$count" -eq 0 ] || record detached "$count" ""
}

look_at_branches() {
    # git leaves out a branch that it cannot read, with a warning and exit code 0.
    refs=$(ask for-each-ref --format='%(refname)' refs/heads) || { lost "its branches"; return; }
    [ -z "$(ask for-each-ref refs/heads 2>&1 >/dev/null)" ] || lost "everything about its branches"
    [ -n "$refs" ] || return
    count=$(ask rev-list --count --branches --not $elsewhere) || { lost "which commits are pushed"; return; }
    [ "$count" -gt 0 ] || return
    [ -n "$elsewhere" ] || { record homeless "$count" ""; return; }
    named=0
    for ref in $refs; do
        [ "$named" -lt 20 ] || { record unpushed "$count" "all branches"; return; }
        ahead=$(ask rev-list --count "$ref" --not $elsewhere) || { lost "which commits are pushed"; return; }
        [ "$ahead" -eq 0 ] || { record unpushed "$ahead" "${ref#refs/heads/}"; named=$((named + 1)); }
    done
}

look_at_stashes() {
    ask rev-parse -q --verify refs/stash >/dev/null
    case $? in 0) ;; 1) return ;; *) lost "its stashes"; return ;; esac
    stashes=$(ask rev-list -g refs/stash) || { lost "its stashes"; return; }
    count=$(lines "$stashes")
    record stashed "$((count > 0 ? count : 1))" ""
}

# A worktree may be anywhere in the sandbox. Those outside of the paths are visited at the end.
find_worktrees() {
    trees=$(ask worktree list --porcelain) || { lost "its worktrees"; return; }
    others=$others$(printf '%s\n' "$trees" | sed -n 's/^worktree //p')$line
}

full=
for found in "$@"; do
    found=${found%/.git}
    case $found in .) called=$ISSUEBOX_PLACE ;; *) called=${found#./} ;; esac
    if command -v git >/dev/null; then
        visit "$found" "$called"
    else
        name=$called
        lost "anything: there is no git in the sandbox"
    fi
done
while IFS= read -r found; do
    [ -z "$found" ] || [ ! -e "$found/.git" ] || visit "$found" "$found"
done <<EOF
$others
EOF
name=$ISSUEBOX_PLACE
[ -z "$full" ] || lost "anything about further repositories: there are more than $ISSUEBOX_REPOSITORIES_MAX"
exit 0
