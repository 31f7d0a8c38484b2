"""What an agent works on, read from its output as a follower gets it: the newest progress, and whether it is through.

It reads the end of what there is. Of an output that grows faster than it is read, the middle is left out.
"""

from __future__ import annotations

from issuebox.domain.agent_progress import ProgressState
from issuebox.domain.presets import Preset
from issuebox.domain.probe import Probe


class Watch:
    """Follows one attempt's output. `place` says from where on to read, `take` what was read."""

    def __init__(self, preset: Preset, out_bytes: int, slice_bytes: int) -> None:
        self._preset = preset
        self._slice_bytes = slice_bytes
        self._offset = max(0, out_bytes - slice_bytes)
        self._state = ProgressState(is_skipping=self._offset > 0)

    @property
    def progress(self) -> str:
        """The newest progress; '' for none yet."""
        return self._state.line

    @property
    def is_through(self) -> bool:
        """Whether the agent has said how it ended: it has nothing left to do but to end."""
        return self._state.has_result

    def place(self, out_bytes: int) -> int:
        """The offset from which on to read, when the output was so long at the last look."""
        return max(self._offset, out_bytes - self._slice_bytes)

    def take(self, probe: Probe) -> None:
        """Read on. Half a line in front of a part that was left out says nothing."""
        end = probe.offset + len(probe.data)
        if end <= self._offset:
            return
        if probe.offset > self._offset:
            self._state = ProgressState(self._state.line, is_skipping=True)
        fresh = probe.data[max(0, self._offset - probe.offset) :]
        self._offset = end
        self._state, _ = self._preset.progress_of(fresh, self._state)
