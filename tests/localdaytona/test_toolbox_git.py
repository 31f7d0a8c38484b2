"""Clones by the real SDK, from a directory and over loopback HTTP with a password."""

import base64
import os
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import uvicorn
from daytona import AsyncDaytona, AsyncSandbox, DaytonaError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from localdaytona.server import bind
from localdaytona.testing import Server
from tests.localdaytona.clients import create

USER = "x-access-token"
PASSWORD = "s3cr3t/with@odd:signs"


@dataclass(slots=True)
class Origin:
    """A bare repository with two commits, and a web server that protects it."""

    bare: Path
    commits: list[str]
    url: str = ""
    asked: list[str] = field(default_factory=list)


def git(*arguments: str, cwd: Path) -> str:
    """Run git for the test itself."""
    who = {"GIT_CONFIG_GLOBAL": os.devnull, "HOME": str(cwd), "PATH": os.environ["PATH"]}
    identity = ("-c", "user.name=T", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main")
    done = subprocess.run(("git", *identity, *arguments), cwd=cwd, env=who, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def bare(tmp_path: Path) -> Origin:
    """A bare repository with branches `main` (two commits) and `other`."""
    work = tmp_path / "origin" / "work"
    work.mkdir(parents=True)
    git("init", "--quiet", cwd=work)
    commits = []
    for text in ("one", "two"):
        (work / "file").write_text(text, "utf-8")
        git("add", ".", cwd=work)
        git("commit", "--quiet", "-m", text, cwd=work)
        commits.append(git("rev-parse", "HEAD", cwd=work))
    git("branch", "other", commits[0], cwd=work)
    git("clone", "--quiet", "--bare", str(work), str(work.parent / "repo.git"), cwd=work)
    git("update-server-info", cwd=work.parent / "repo.git")
    return Origin(work.parent / "repo.git", commits)


@pytest.fixture
async def protected(bare: Origin) -> AsyncIterator[Origin]:
    """The same repository behind HTTP basic authentication on loopback."""
    token = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    static = StaticFiles(directory=bare.bare.parent)

    async def guard(scope, receive, send) -> None:
        request = Request(scope)
        bare.asked.append(request.headers.get("authorization", ""))
        refused: Response = PlainTextResponse("no", 401, {"WWW-Authenticate": 'Basic realm="git"'})
        answer = static if bare.asked[-1] == f"Basic {token}" else refused
        await answer(scope, receive, send)

    listener = bind("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(Starlette(routes=[Mount("/", guard)]), log_level="error", lifespan="off"))
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    await server.startup(sockets=[listener])
    bare.url = f"http://127.0.0.1:{listener.getsockname()[1]}/repo.git"
    yield bare
    await server.shutdown(sockets=[listener])


@pytest.fixture
async def sandbox(sdk: AsyncDaytona) -> AsyncSandbox:
    """A started sandbox."""
    return await create(sdk, "git")


async def test_local_repository_is_cloned(sandbox: AsyncSandbox, bare: Origin) -> None:
    """A clone is a working copy at the branch's head, and its status is clean."""
    await sandbox.git.clone(str(bare.bare), "work/repo")
    assert await sandbox.fs.download_file("work/repo/file") == b"two"
    status = await sandbox.git.status("work/repo")
    assert (status.current_branch, status.branch_published, status.upstream) == ("main", True, "origin/main")
    assert (status.ahead, status.behind, status.file_status) == (0, 0, [])


async def test_branch_and_commit_are_checked_out(sandbox: AsyncSandbox, bare: Origin) -> None:
    """A branch is checked out by name; a commit gives a detached head, and the status says so."""
    await sandbox.git.clone(str(bare.bare), "branch", branch="other")
    assert (await sandbox.git.status("branch")).current_branch == "other"
    await sandbox.git.clone(str(bare.bare), "commit", commit_id=bare.commits[0])
    assert await sandbox.fs.download_file("commit/file") == b"one"
    assert (await sandbox.git.status("commit")).detached is True


async def test_status_names_what_changed(sandbox: AsyncSandbox, bare: Origin) -> None:
    """It has changed, staged, renamed and untracked files, including names with spaces."""
    await sandbox.git.clone(str(bare.bare), "r")
    await sandbox.process.exec("git mv file 'new name'; echo x > 'un known'; echo y > staged; git add staged", cwd="r")
    changed = (await sandbox.git.status("r")).file_status
    said = {each.name: (each.staging.value, each.worktree.value, each.extra) for each in changed}
    assert said == {
        "new name": ("Renamed", "Unmodified", "file"),
        "staged": ("Added", "Unmodified", ""),
        "un known": ("Untracked", "Untracked", ""),
    }


async def test_password_opens_the_repository_and_leaves_no_trace(
    server: Server, sandbox: AsyncSandbox, protected: Origin, tmp_path: Path
) -> None:
    """The credentials work, and no file of the sandbox, no remote and no journal entry holds them."""
    await sandbox.git.clone(protected.url, "r", username=USER, password=PASSWORD)
    assert await sandbox.fs.download_file("r/file") == b"two"
    assert (await sandbox.process.exec("git remote get-url origin", cwd="r")).result.strip() == protected.url
    token = base64.b64encode(f"{USER}:{PASSWORD}".encode())
    for path in (tmp_path / "sandboxes").rglob("*"):
        if path.is_file():
            assert PASSWORD.encode() not in path.read_bytes()
            assert token not in path.read_bytes()
    journal = repr(await server.admin.journal())
    assert "/git/clone" in journal
    assert PASSWORD not in journal
    assert token.decode() not in journal


async def test_wrong_password_fails_without_repeating_it(sandbox: AsyncSandbox, protected: Origin) -> None:
    """The error says that the login failed and holds no password, and no directory is left."""
    with pytest.raises(DaytonaError) as refusal:
        await sandbox.git.clone(protected.url, "r", username=USER, password="wr0ng-pass")
    assert refusal.value.status_code == 400
    assert "wr0ng-pass" not in str(refusal.value)
    assert any(protected.asked)
    assert (await sandbox.process.exec("test -e r")).exit_code == 1


async def test_credentials_in_the_url_are_removed(sandbox: AsyncSandbox, protected: Origin) -> None:
    """A user and a password in the URL open the repository, and are not in the clone."""
    url = protected.url.replace("://", "://x-access-token:s3cr3t%2Fwith%40odd%3Asigns@")
    await sandbox.git.clone(url, "r")
    assert (await sandbox.process.exec("cat .git/config; git log -1 --format=%s", cwd="r")).result.count("s3cr3t") == 0
    assert (await sandbox.process.exec("git remote get-url origin", cwd="r")).result.strip() == protected.url


@pytest.mark.parametrize(
    ("more", "status"),
    [({"branch": "nope"}, 404), ({"commit_id": "--upload-pack=touch"}, 400), ({"commit_id": "0" * 40}, 400)],
)
async def test_failed_clone_leaves_nothing(
    sandbox: AsyncSandbox, bare: Origin, more: dict[str, str], status: int
) -> None:
    """An unknown branch, an invalid commit ID or an unknown commit gives an error, and no partial clone."""
    with pytest.raises(DaytonaError) as refusal:
        await sandbox.git.clone(str(bare.bare), "r", **more)
    assert refusal.value.status_code == status
    assert (await sandbox.process.exec("test -e r")).exit_code == 1


async def test_missing_repository_is_not_found(sandbox: AsyncSandbox) -> None:
    """Neither a clone nor a status of a missing repository succeeds."""
    with pytest.raises(DaytonaError) as refusal:
        await sandbox.git.clone("/no/such/repository", "r")
    assert refusal.value.status_code == 404
    with pytest.raises(DaytonaError):
        await sandbox.git.status("nowhere")
