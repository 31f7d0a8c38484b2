"""The toolbox: commands, sessions, files and git of a sandbox, as its daemon answers them.

It is no security boundary: a sandbox here is a directory, and its commands are plain processes of the
user who runs the server. Run nothing in it that you would not run in your own terminal.
"""

from localdaytona.toolbox.router import toolbox_router

__all__ = ["toolbox_router"]
