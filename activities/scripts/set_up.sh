# Runs the configured command, with all its output in a log file in the sandbox.
# $1: the directory to run it in, under the home directory, or "." for the home directory. $2: the command.
cd -- "$HOME" && mkdir -p .issuebox && exec >.issuebox/setup.log 2>&1 && cd -- "./$1" && exec sh -c "$2"
