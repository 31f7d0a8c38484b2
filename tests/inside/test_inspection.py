"""The inspection for unsaved work, with real repositories in a real sandbox."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

import activities.inside
from issuebox.domain.sandbox import LABEL_WORK
from issuebox.domain.unsaved_work import WorkState
from issuebox.providers.daytona import DaytonaProvider
from localdaytona.testing import Server

from .conftest import NAME, REPOSITORY, Box, open_box
from .origin import TOKEN, USER, Origin

COMMIT = "echo x >>file && git add file && git commit -qm more"
TOOLS = ("sh", "find", "tr", "wc", "dirname", "sed", "timeout", "printf", "cat", "mkdir", "sleep", "rm", "touch", "env")


@pytest.fixture
async def clone(box: Box, origin: Origin) -> Box:
    """The sandbox with a clone of `octo/repo` in `~/repo`, which may push."""
    host = origin.url.removeprefix("http://")
    await box.shell(
        f"printf %s 'http://{USER}:{quote(TOKEN, safe='')}@{host}' >.git-credentials; "
        "git config --global credential.helper store; git config --global push.default current; "
        f"git clone -q {origin.url}/{REPOSITORY}.git repo"
    )
    return box


async def test_fresh_clone_is_clean_and_labelled(clone: Box) -> None:
    """A sandbox whose work is all on the remote is clean, and its label shows that in the dashboard."""
    inspection = await clone.inspect()
    assert (inspection.state, inspection.findings) == (WorkState.CLEAN, ())
    assert (await clone.labels())[LABEL_WORK] == "clean"


async def test_no_repository_is_clean_and_reported(box: Box) -> None:
    """Files outside of git are not judged; the verdict names what was inspected."""
    await box.shell("echo notes >notes.txt")
    inspection = await box.inspect()
    assert (inspection.state, inspection.findings) == (WorkState.CLEAN, ("no git repository under ~",))


WORK = [
    # what somebody does in the clone, what is found
    ("echo x >>file", "repo: 1 uncommitted file"),
    ("echo x >>file; echo new >other", "repo: 2 uncommitted files"),
    ("echo x >>file; git add file", "repo: 1 uncommitted file"),
    ("git rm -q file", "repo: 1 uncommitted file"),
    ("git config status.showUntrackedFiles no; echo new >other", "repo: 1 uncommitted file"),
    ("echo x >>file; git stash -q", "repo: 1 stash"),
    (COMMIT, "repo: 1 commit on main not pushed"),
    (f"git switch -qc fix-1; {COMMIT}; {COMMIT}; git switch -q main", "repo: 2 commits on fix-1 not pushed"),
    (f"git switch -q --detach; {COMMIT}", "repo: 1 commit on no branch not pushed"),
    (f"{COMMIT}; git remote remove origin", "repo: 2 commits and no remote"),
    (
        f"git switch -qc a; {COMMIT}; git switch -q main; echo y >file; git commit -qam y; git rebase a || true",
        "repo: a rebase in progress",
    ),
    (
        ("git switch -qc a; echo a >file; git commit -qam a; git push -q origin a; git switch -q main; echo b >file; "
        "git commit -qam b; git push -q origin main; git merge a || true"),
        "repo: a merge in progress",
    ),
    # A remote on the sandbox's own disk is lost with the sandbox.
    (
        f"git init -q --bare ../own.git; {COMMIT}; git remote set-url origin ../own.git; git push -q origin main",
        "repo: 2 commits and no remote",
    ),
    (f"git worktree add -q ../../root/tmp/tree -b side; cd ../../root/tmp/tree; {COMMIT}; cd ~/repo",
     "repo: 1 commit on side not pushed"),
    ("git init -q inner; cd inner; echo x >x; git add x; git commit -qm x", "repo/inner: 1 commit and no remote"),
]  # fmt: skip


@pytest.mark.parametrize(("work", "finding"), WORK, ids=[row[1] + f" #{n}" for n, row in enumerate(WORK)])
async def test_work_that_is_nowhere_else_is_found(clone: Box, work: str, finding: str) -> None:
    """Each way to have work in a clone is found, named, and labelled."""
    await clone.shell(f"cd repo; {work}")
    inspection = await clone.inspect()
    assert inspection.state is WorkState.UNSAVED
    assert finding in inspection.findings
    assert (await clone.labels())[LABEL_WORK] == "unsaved"


async def test_pushed_work_is_clean_again(clone: Box) -> None:
    """Once everything is pushed, nothing holds a delete, whatever the branch."""
    await clone.shell(f"cd repo; git switch -qc fix-1; {COMMIT}")
    assert (await clone.inspect()).state is WorkState.UNSAVED
    await clone.shell("cd repo; git push -q origin fix-1; git switch -q --detach")
    assert (await clone.inspect()).state is WorkState.CLEAN
    assert (await clone.labels())[LABEL_WORK] == "clean"


async def test_worktree_elsewhere_is_visited(clone: Box, tmp_path: Path) -> None:
    """A worktree outside of the paths is found through its repository."""
    tree = tmp_path / "tree"
    await clone.shell(f"cd repo; git worktree add -q --detach {tree}; echo x >{tree}/new")
    inspection = await clone.inspect()
    assert inspection.findings == (f"{tree}: 1 uncommitted file",)


async def test_submodule_has_its_own_findings(clone: Box, origin: Origin) -> None:
    """Work in a submodule is found even if the repository around it is configured to ignore it."""
    origin.add("octo/part")
    await clone.shell(
        f"cd repo; git submodule --quiet add {origin.url}/octo/part.git part; git commit -qm part; git push -q;"
        f"git config submodule.part.ignore all; cd part; git switch -qc fix-1; {COMMIT}"
    )
    assert set((await clone.inspect()).findings) == {
        "repo: 1 uncommitted file",
        "repo/part: 1 commit on fix-1 not pushed",
    }


async def test_inspection_changes_nothing(clone: Box) -> None:
    """The inspection leaves every file of the repository as it was, the index included."""
    await clone.shell("cd repo; echo x >>file; touch -d '2001-01-01' file")
    before = {path: path.stat().st_mtime_ns for path in clone.home.rglob("*") if path.is_file()}
    await clone.inspect()
    assert {path: path.stat().st_mtime_ns for path in clone.home.rglob("*") if path.is_file()} == before


HOSTILE = {
    "a line of the report": "x\nissuebox\tend\t0\t\t",
    "an escape sequence": "x\x1b[31mred\x1b[0m",
    "a tab and a return": "x\ty\rz",
    "text that turns around": "x\u202egpj.exe",
    "markup": "[x](http:evil)`<b>",
    "an option": "-rf",
    "quotes": "x'\"$(touch pwned);",
}


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
async def test_hostile_name_is_one_harmless_line(box: Box, name: str) -> None:
    """A directory may have any name: its work is found, and the name cannot imitate another finding."""
    place = box.home / name
    place.mkdir()
    await box.shell(
        'for each in *; do case "$each" in notes) ;; *) cd -- "./$each"; esac; done; git init -q; echo x >x'
    )
    inspection = await box.inspect()
    assert inspection.state is WorkState.UNSAVED
    assert len(inspection.findings) == 1
    finding = inspection.findings[0]
    assert finding.endswith(": 1 uncommitted file")
    assert finding.isprintable()
    assert not set(finding) & set("<>[]`|")
    assert not list(box.home.rglob("pwned"))


async def test_many_findings_are_counted(box: Box) -> None:
    """Histories keep findings, so their number is limited, and the last line counts those left out."""
    await box.shell("for n in $(seq 30); do git init -q r$n; echo x >r$n/x; done")
    findings = (await box.inspect()).findings
    assert len(findings) == 20
    assert findings[-1] == "and 11 more"


async def test_more_repositories_than_the_limit_are_unchecked(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """A repository that was not inspected is not called clean."""
    monkeypatch.setattr(activities.inside, "REPOSITORIES_MAX", 2)
    await box.shell("for n in 1 2 3; do git init -q r$n; done")
    inspection = await box.inspect()
    assert inspection.state is WorkState.UNCHECKED
    assert "there are more than 2" in inspection.findings[0]


BROKEN = [
    ("mkdir repo/.git.new; mv repo/.git repo/old; mv repo/.git.new repo/.git", "the repository cannot be read"),
    ("echo garbage >repo/.git/HEAD", "the repository cannot be read"),
    ("echo 'gitdir: /nowhere' >repo/x; mv repo/.git repo/old; mv repo/x repo/.git", "the repository cannot be read"),
    ("git init -q repo/in; rm -r repo/in/.git/*", "what belongs to it"),
    ("echo garbage >repo/.git/refs/heads/other", "its branches"),
    ("rm -r repo/.git/objects/*", "which files have changed"),
    ("git init -q own; cd own; echo x >x; git add x; git commit -qm x; git branch b; : >.git/refs/heads/b", "branches"),
]


@pytest.mark.parametrize(("damage", "reason"), BROKEN)
async def test_broken_repository_is_not_clean(clone: Box, damage: str, reason: str) -> None:
    """A repository that git cannot read may hold work."""
    await clone.shell(damage)
    inspection = await clone.inspect()
    assert inspection.state is not WorkState.CLEAN
    assert any("git did not report" in finding and reason in finding for finding in inspection.findings), inspection


async def test_repository_of_another_user_is_inspected(clone: Box) -> None:
    """git refuses another user's repository unless configured otherwise: the work counts, whoever did it."""
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    await clone.shell(f"cd repo; {COMMIT}; chown -R 65534 .")
    assert (await clone.inspect()).findings == ("repo: 1 commit on main not pushed",)


async def test_unreadable_directory_is_unchecked(clone: Box) -> None:
    """A directory that cannot be entered may hold a repository."""
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    await clone.shell("mkdir locked; chmod 0 locked")
    try:
        inspection = await clone.inspect()
        hidden = await clone.inspect("~/locked/x")
    finally:
        await clone.shell("chmod 700 locked")
    assert (inspection.state, inspection.findings) == (WorkState.UNCHECKED, ("~: could not be searched to the end",))
    assert (hidden.state, hidden.findings) == (WorkState.UNCHECKED, ("~/locked/x: cannot be read",))


async def test_search_that_fails_is_unchecked(shimmed: Box, tmp_path: Path) -> None:
    """When the search could not go everywhere, nothing is called clean. Also tested as root, who may go everywhere."""
    found = (tmp_path / "bin" / "find").readlink()
    (tmp_path / "bin" / "find").unlink()
    (tmp_path / "bin" / "find").write_text(f'#!/bin/sh\n{found} "$@"\nexit 1\n', "utf-8")
    (tmp_path / "bin" / "find").chmod(0o755)
    inspection = await shimmed.inspect()
    assert (inspection.state, inspection.findings) == (WorkState.UNCHECKED, ("~: could not be searched to the end",))


async def test_paths_are_those_that_are_set(clone: Box, tmp_path: Path) -> None:
    """Only the given paths are searched; a missing one holds nothing."""
    await clone.shell(f"cd repo; {COMMIT}; mkdir ~/empty")
    assert (await clone.inspect("~/empty", "/no/such/path")).findings == (
        "no git repository under ~/empty, /no/such/path",
    )
    assert (await clone.inspect("~/repo")).findings == ("~/repo: 1 commit on main not pushed",)
    assert (await clone.inspect(str(clone.home))).findings == ("repo: 1 commit on main not pushed",)


def tools(directory: Path, *names: str) -> str:
    """A PATH with only these programs."""
    directory.mkdir()
    for name in names:
        found = shutil.which(name)
        assert found is not None, name
        (directory / name).symlink_to(found)
    return str(directory)


@pytest.fixture
async def shimmed(server: Server, provider: DaytonaProvider, tmp_path: Path) -> Box:
    """A sandbox whose PATH is a directory that a test may fill; git is not in it."""
    path = tools(tmp_path / "bin", *TOOLS)
    return await open_box(server, provider, tmp_path, env={"PATH": path})


async def test_missing_git_leaves_a_repository_unchecked(shimmed: Box) -> None:
    """Without git no repository can be checked; without a repository nothing has to be."""
    assert (await shimmed.inspect()).state is WorkState.CLEAN
    await shimmed.shell("mkdir -p repo/.git")
    inspection = await shimmed.inspect()
    assert inspection.state is WorkState.UNCHECKED
    assert inspection.findings == ("repo: git did not report anything: there is no git in the sandbox",)


async def test_hanging_git_is_unchecked(shimmed: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each git command has a time limit, so that one bad repository does not hide the others."""
    hanging = tmp_path / "bin" / "git"
    hanging.write_text("#!/bin/sh\nexec sleep 60\n", "utf-8")
    hanging.chmod(0o755)
    monkeypatch.setattr(activities.inside, "GIT_TIMEOUT_S", 1)
    await shimmed.shell("mkdir -p repo/.git")
    inspection = await shimmed.inspect()
    assert inspection.state is WorkState.UNCHECKED
    assert inspection.findings == ("repo: git did not report anything: the repository cannot be read",)


async def test_inspection_that_takes_too_long_is_unchecked(
    shimmed: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole inspection has a time limit; what it had not inspected by then is not clean."""
    hanging = tmp_path / "bin" / "git"
    hanging.write_text("#!/bin/sh\nexec sleep 60\n", "utf-8")
    hanging.chmod(0o755)
    monkeypatch.setattr(activities.inside, "SCRIPT_TIMEOUT_S", 1.0)
    await shimmed.shell("mkdir -p repo/.git")
    inspection = await shimmed.inspect()
    assert inspection.state is WorkState.UNCHECKED
    assert inspection.findings[0] == "the inspection of the sandbox did not end in time"
    assert (await shimmed.labels())[LABEL_WORK] == "unchecked"


@pytest.mark.parametrize("shell", ["bash", "dash", "busybox"])
async def test_script_means_the_same_in_each_shell(
    server: Server, provider: DaytonaProvider, tmp_path: Path, shell: str
) -> None:
    """The sandbox's sh may be any of these."""
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"no {shell} on this machine")
    path = tools(tmp_path / "bin", *(tool for tool in TOOLS if tool != "sh"), "git", "seq")
    (tmp_path / "bin" / "sh").symlink_to(program)
    box = await open_box(server, provider, tmp_path, env={"PATH": path})
    await box.shell("git init -q repo; cd repo; git commit -q --allow-empty -m x; echo x >x; git stash -qu; echo y >y")
    assert set((await box.inspect()).findings) == {
        "repo: 1 uncommitted file",
        "repo: 1 commit and no remote",
        "repo: 1 stash",
    }


@pytest.mark.parametrize(
    ("effect", "times", "state"),
    [
        ({"kind": "status", "status": 502}, 1, WorkState.UNSAVED),
        ({"kind": "drop"}, 2, WorkState.UNSAVED),
        ({"kind": "status", "status": 502}, 9, WorkState.UNCHECKED),
        # How long a rate limit lasts is for the slow retries: meanwhile somebody may ask for the sandbox.
        ({"kind": "status", "status": 429, "headers": {"Retry-After": "7"}}, 1, WorkState.UNCHECKED),
        ({"kind": "status", "status": 401, "message": "unauthorized: authentication failed"}, 9, WorkState.UNCHECKED),
        ({"kind": "malformed", "field": "result"}, 9, WorkState.UNCHECKED),
    ],
)
async def test_unreachable_toolbox_is_unchecked(
    box: Box, effect: dict[str, object], times: int, state: WorkState
) -> None:
    """A toolbox that fails sometimes is asked again; one that keeps failing does not count as an empty sandbox."""
    await box.shell("git init -q repo; echo x >repo/x")
    await box.server.admin.add_fault("toolbox", effect, times=times)
    inspection = await box.inspect()
    assert inspection.state is state
    if state is WorkState.UNCHECKED:
        assert inspection.findings[0].startswith("the inspection of the sandbox failed: ")


async def test_hanging_toolbox_is_asked_once(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a slow try there is no other: the inspection stays within its time."""
    monkeypatch.setattr(activities.inside, "SCRIPT_TIMEOUT_S", 1.0)
    monkeypatch.setattr(activities.inside, "INSPECTION_RETRY_WITHIN_S", 0.5)
    before = len(await box.server.admin.journal(kind="toolbox"))
    await box.server.admin.add_fault("toolbox", {"kind": "hang", "after": True}, times=9)
    assert (await box.inspect()).state is WorkState.UNCHECKED
    assert len(await box.server.admin.journal(kind="toolbox")) == before + 1


async def test_stopped_and_deleted_sandboxes_are_unchecked(box: Box) -> None:
    """A sandbox in which nothing can run is not called clean, and nothing is raised."""
    await box.provider.stop(box.sandbox.id)
    stopped = await box.inspect()
    await box.provider.delete(box.sandbox.id)
    gone = await box.inspect()
    assert (stopped.state, gone.state) == (WorkState.UNCHECKED, WorkState.UNCHECKED)
    assert "Is the Sandbox started?" in stopped.findings[0]
    assert "404" in gone.findings[0]


async def test_label_that_cannot_be_written_does_not_matter(box: Box) -> None:
    """The verdict counts without its label."""
    await box.server.admin.add_fault("labels", {"kind": "status", "status": 500}, times=9)
    assert (await box.inspect()).state is WorkState.CLEAN
    assert LABEL_WORK not in await box.labels()


async def test_label_that_is_right_is_not_written_again(box: Box) -> None:
    """A repeated inspection sends no command."""
    await box.inspect()
    await box.inspect()
    writes = [e for e in await box.server.admin.journal(kind="request") if e.operation == "labels"]
    assert [entry.name for entry in writes] in ([NAME], [None])


LABELLED = ["get", "labels"]
"""Labels are read before they are written, because Daytona replaces all of them."""


@pytest.mark.parametrize(
    ("seen", "is_dirty", "sent"),
    [
        ({}, False, ["get", *LABELLED]),
        ({"is_ours": True}, False, ["get", *LABELLED]),
        ({"is_ours": True, "toolbox_url": True}, False, LABELLED),
        ({"is_ours": True, "toolbox_url": True, "work": "unsaved"}, False, LABELLED),
        ({"is_ours": True, "toolbox_url": True, "work": "clean"}, False, []),
        ({"is_ours": True, "toolbox_url": True, "is_quiet": True}, False, []),
        ({"is_ours": True, "toolbox_url": True, "is_quiet": True}, True, LABELLED),
        ({"is_ours": True, "toolbox_url": True, "work": "clean"}, True, LABELLED),
        ({"toolbox_url": True, "is_quiet": True}, False, ["get"]),
    ],
)
async def test_inspection_asks_daytona_only_what_the_workflow_has_not_seen(
    box: Box, seen: dict[str, Any], sent: list[str], *, is_dirty: bool
) -> None:
    """Whose a sandbox is that was not ours is read again. A clean one that is deleted next needs no label."""
    if is_dirty:
        await box.shell("git init -q repo && echo draft >repo/notes")
    given = {**seen, "toolbox_url": box.sandbox.toolbox_url} if "toolbox_url" in seen else seen
    found, requests = await box.inspect_as(replace(box.request(), **given))
    assert (found.state is WorkState.CLEAN) is not is_dirty
    assert requests == sent


async def test_inspection_of_a_labelled_sandbox_reads_once(box: Box) -> None:
    """The read that brings the address of its toolbox brings its label as well."""
    request = replace(box.request(), is_ours=True)
    await box.inspect_as(request)
    assert (await box.inspect_as(request))[1] == ["get"]
