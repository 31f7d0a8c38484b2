"""git in a sandbox: clone with credentials that leave no trace, and status. No HTTP.

Credentials are passed in the environment of the one git process, as an HTTP header limited to the
repository's origin. They are never in the remote's URL, the arguments, or git's output.
"""

import base64
import re
import shutil
from dataclasses import dataclass, replace
from urllib.parse import unquote, urlsplit, urlunsplit

from localdaytona.toolbox.commands import Finished, finish
from localdaytona.toolbox.errors import ToolboxError
from localdaytona.toolbox.processes import Launch
from localdaytona.toolbox.workspaces import Workspace
from localdaytona.types import JSON, JSONObject

COMMIT = re.compile(r"[0-9a-fA-F]{4,64}")
# Git's output -> the daemon's status and code; the first match counts.
FAILURES = (
    (re.compile(r"Authentication failed|could not read (Username|Password)|\b40[13]\b"), 400, "GIT_AUTH_FAILED"),
    (re.compile(r"Remote branch .* not found"), 404, "GIT_BRANCH_NOT_FOUND"),
    (re.compile(r"not found|does not exist|not appear to be a git repository"), 404, "GIT_REPO_NOT_FOUND"),
    (re.compile(r"unable to access|Could not resolve|Failed to connect"), 400, "GIT_TRANSPORT_FAILED"),
)
# The letters of porcelain v2 -> the toolbox API's words.
WORDS = {
    ".": "Unmodified",
    "M": "Modified",
    "T": "Modified",
    "A": "Added",
    "D": "Deleted",
    "R": "Renamed",
    "C": "Copied",
    "U": "Updated but unmerged",
    "?": "Untracked",
}
# How many fields precede an entry's name, by the entry's kind.
FIELDS = {"1": 8, "2": 9, "u": 10, "?": 1}


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user and a password, hidden in `repr` so that no log can show them."""

    username: str
    password: str

    def __repr__(self) -> str:
        return "Credentials(***)"

    def header(self) -> str:
        """Return the HTTP header that carries them."""
        token = base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
        return f"Authorization: Basic {token}"

    def hide(self, text: str) -> str:
        """Return a text without them."""
        hidden = text
        for secret in (self.header().rpartition(" ")[2], self.password):
            hidden = hidden.replace(secret, "***") if secret else hidden
        return hidden


@dataclass(frozen=True, slots=True)
class Source:
    """What to clone."""

    url: str
    branch: str | None = None
    commit: str | None = None
    depth: int | None = None
    credentials: Credentials | None = None
    skip_tls: bool = False


def without_userinfo(source: Source) -> Source:
    """Return the source with its URL's user information moved into its credentials."""
    parts = urlsplit(source.url)
    if parts.scheme not in {"http", "https"} or "@" not in parts.netloc:
        return source
    userinfo, _, host = parts.netloc.rpartition("@")
    username, _, password = userinfo.partition(":")
    given = source.credentials or Credentials(unquote(username), unquote(password))
    return replace(source, url=urlunsplit(parts._replace(netloc=host)), credentials=given)


async def clone(workspace: Workspace, asked: Source, asked_path: str) -> None:
    """Clone a repository; a failed clone leaves nothing behind. Raises ToolboxError."""
    source = without_userinfo(asked)
    if source.commit and not COMMIT.fullmatch(source.commit):
        raise ToolboxError(400, "bad request: commit_id is not the ID of a commit")
    path = workspace.follow(asked_path)
    existed = path.exists()
    arguments = ["clone", "--quiet"]
    arguments += [f"--branch={source.branch}"] if source.branch else []
    arguments += [f"--depth={source.depth}"] if source.depth else []
    try:
        await _checked(workspace, source, [*arguments, "--", source.url, str(path)])
        if source.commit:
            await _checked(workspace, source, ["-C", str(path), "checkout", "--quiet", "--detach", source.commit, "--"])
    except ToolboxError:
        if not existed:
            shutil.rmtree(path, ignore_errors=True)
        raise


async def status(workspace: Workspace, asked_path: str) -> JSONObject:
    """Return a repository's branch and changed files. Raises ToolboxError."""
    path = workspace.follow(asked_path)
    if not path.is_dir():
        raise ToolboxError(404, f"not found: repository not found: {asked_path}", "GIT_REPO_NOT_FOUND")
    said = await _checked(workspace, Source(""), ["-C", str(path), "status", "--porcelain=v2", "--branch", "-z"])
    return read_status(said)


def read_status(said: str) -> JSONObject:
    """Return the parsed output of `git status --porcelain=v2 --branch -z`."""
    heads: dict[str, str] = {}
    changed: list[JSON] = []
    entries = iter(said.split("\0"))
    for entry in entries:
        if entry.startswith("# "):
            name, _, value = entry[2:].partition(" ")
            heads[name] = value
        elif entry[:1] in FIELDS:
            # A renamed file's entry is followed by its old name.
            changed.append(_changed(entry, next(entries, "") if entry.startswith("2 ") else ""))
    ahead, _, behind = heads.get("branch.ab", "+0 -0").partition(" ")
    branch = heads.get("branch.head", "")
    upstream = heads.get("branch.upstream", "")
    return {
        "currentBranch": branch,
        "detached": branch == "(detached)",
        "upstream": upstream,
        "branchPublished": bool(upstream),
        "ahead": int(ahead),
        "behind": -int(behind),
        "fileStatus": changed,
    }


def _changed(entry: str, old_name: str) -> JSONObject:
    kind = entry[0]
    fields = entry.split(" ", FIELDS[kind])
    staging, worktree = ("?", "?") if kind == "?" else (fields[1][0], fields[1][1])
    return {
        "name": fields[-1],
        "staging": WORDS.get(staging, "Modified"),
        "worktree": WORDS.get(worktree, "Modified"),
        "extra": old_name,
    }


async def _checked(workspace: Workspace, source: Source, arguments: list[str]) -> str:
    """Run git and return its output. Raises ToolboxError when it fails."""
    env = workspace.environment({"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C", **_settings(source)})
    done = await finish(workspace.run, Launch(("git", *arguments), workspace.home, env), None)
    if done.exit_code != 0:
        raise _failure(done, source)
    return done.output


def _settings(source: Source) -> dict[str, str]:
    """Return the configuration of this one git process."""
    settings: list[tuple[str, str]] = []
    if source.credentials is not None:
        parts = urlsplit(source.url)
        origin = f"{parts.scheme}://{parts.netloc}/"
        settings += [(f"http.{origin}.extraHeader", source.credentials.header()), ("credential.helper", "")]
    if source.skip_tls:
        settings.append(("http.sslVerify", "false"))
    env = {"GIT_CONFIG_COUNT": str(len(settings))}
    for number, (key, value) in enumerate(settings):
        env |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return env


def _failure(done: Finished, source: Source) -> ToolboxError:
    said = done.output.strip() if source.credentials is None else source.credentials.hide(done.output.strip())
    for pattern, status_code, code in FAILURES:
        if pattern.search(said):
            return ToolboxError(status_code, f"git: {said}", code)
    return ToolboxError(400, f"bad request: git: {said}")
