# Runs the configured command, with all that it says in a log of the sandbox.
# $1: the directory to run it in, under the home directory, or "." for that one. $2: the command.
cd -- "$HOME" && mkdir -p .issuebox && exec >.issuebox/setup.log 2>&1 && cd -- "./$1" && exec sh -c "$2"
