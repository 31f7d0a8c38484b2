"""Presets: the agents that issuebox knows how to run. A preset is a command, the signal that ends it in order, and the
reader of its output. Pure: the command is only text here.

The commands are text for `sh`, run in the clone with the environment and the files of docs/agents.md. They end in
`exec`, so that the job's process is the agent itself and a signal reaches it. What people wrote is in the file that
becomes its stdin, and never on its command line. The permission mode is explicit, and nothing is bypassed unless the
operator's own arguments say so.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from issuebox.domain.agent_output import (
    COMMAND_ROWS,
    NEW_CONVERSATION,
    ROWS,
    Listener,
    Row,
    RunReport,
    listen_to_claude,
    listen_to_codex,
    listen_to_command,
    report_of,
)
from issuebox.domain.agent_progress import (
    ProgressState,
    Watcher,
    progress_after,
    watch_claude,
    watch_codex,
    watch_command,
)

_ARGUMENTS = "{arguments}"

_BEGINS_ANEW = f"""if [ "$ISSUEBOX_SESSION_IS_NEW" != 1 ]; then
    echo "{NEW_CONVERSATION}" >&2
  fi"""

_CLAUDE = f"""# The installer of Claude Code puts it there, which not every shell has on its PATH.
PATH=$HOME/.local/bin:$PATH
export PATH
# A conversation is continued where its transcript is, also one that an attempt began before it was cut off.
session=--session-id
for transcript in "${{CLAUDE_CONFIG_DIR:-$HOME/.claude}}"/projects/*/"$ISSUEBOX_SESSION.jsonl"; do
  if [ -e "$transcript" ]; then session=--resume; fi
done
if [ "$session" = --session-id ]; then
  {_BEGINS_ANEW}
fi
exec claude -p --output-format stream-json --verbose --permission-mode acceptEdits \\
  "$session" "$ISSUEBOX_SESSION" {_ARGUMENTS} <"$ISSUEBOX_RUN_DIR/prompt.md"
"""

_CODEX = f"""PATH=$HOME/.local/bin:$PATH
export PATH
# The ID of a conversation cannot be chosen: it stands in the output of the attempt that began it, whose path is kept.
record=$HOME/.issuebox/session-$ISSUEBOX_SESSION
thread=
if [ -r "$record" ]; then
  thread=$(sed -n '/"type":"thread.started"/{{s/.*"thread_id":"\\([0-9A-Za-z-]*\\)".*/\\1/p;q;}}' "$(cat "$record")")
fi
if [ -z "$thread" ]; then
  {_BEGINS_ANEW}
  printf '%s\\n' "$ISSUEBOX_RUN_DIR/out" >"$record" || exit 1
fi
# As -c, because a second -s, from the operator's arguments, would be an error.
exec codex exec -c 'sandbox_mode="workspace-write"' --skip-git-repo-check {_ARGUMENTS} ${{thread:+resume}} \\
  --json -o "$ISSUEBOX_RUN_DIR/last.md" ${{thread:+"$thread"}} - <"$ISSUEBOX_RUN_DIR/prompt.md"
"""


@dataclass(frozen=True, slots=True)
class Preset:
    """An agent that issuebox can run. ``command`` is '' where the operator has to give one."""

    name: str
    command: str
    interrupt_signal: str
    rows: tuple[Row, ...]
    listen: Listener
    watch: Watcher

    def read_output(self, out: bytes, err_tail: bytes, exit_code: int, why: str, result_json: bytes) -> RunReport:
        """What an attempt that ended says about itself. ``out`` is its output, or the end of it; 256 KiB hold every
        result seen. ``why`` is the supervisor's word for the end. Nothing raises, whatever the bytes are."""
        return report_of(self.listen, self.rows, out, err_tail, exit_code=exit_code, why=why, result_json=result_json)

    def progress_of(self, chunk: bytes, state: ProgressState) -> tuple[ProgressState, str]:
        """The state after a further chunk of output, and the newest progress, '' for none yet. A chunk may end in half
        a line or half a character: the progress is the same wherever it was cut."""
        return progress_after(self.watch, chunk, state)

    def command_line(self, own_command: str = "", arguments: str = "") -> str:
        """The text for `sh`: the preset's own with the operator's further arguments, or the operator's own command.

        Arguments are split as a shell would, and given as they are: no variable in them is replaced. Raises ValueError,
        with what to change, for settings that do not fit the preset.
        """
        if not self.command:
            if not own_command.strip():
                raise ValueError(f"the preset {self.name} needs ISSUEBOX_RUN_COMMAND")
            if arguments.strip():
                raise ValueError(
                    "ISSUEBOX_RUN_ARGUMENTS is for the agents' presets: put them into ISSUEBOX_RUN_COMMAND"
                )
            return own_command
        if own_command.strip():
            raise ValueError(f"the preset {self.name} has a command: leave ISSUEBOX_RUN_COMMAND out, or use `command`")
        try:
            words = shlex.split(arguments)
        except ValueError as error:
            raise ValueError(f"ISSUEBOX_RUN_ARGUMENTS cannot be split into words: {error}") from error
        return self.command.replace(_ARGUMENTS, shlex.join(words))


PRESETS: Mapping[str, Preset] = {
    preset.name: preset
    for preset in (
        # Plain scripts are ended with SIGTERM: a shell that began in the background ignores SIGINT for good.
        Preset("command", "", "TERM", COMMAND_ROWS, listen_to_command, watch_command),
        # SIGINT lets the agent close its tools and its transcript.
        Preset("claude", _CLAUDE, "INT", ROWS, listen_to_claude, watch_claude),
        Preset("codex", _CODEX, "INT", ROWS, listen_to_codex, watch_codex),
    )
}
"""The presets by name, which is what ISSUEBOX_RUN_PRESET says."""
