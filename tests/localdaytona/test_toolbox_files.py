"""Files by the real SDK, and the limits of a sandbox's paths."""

import asyncio
import os
from pathlib import Path

import pytest
from daytona import AsyncDaytona, AsyncSandbox, DaytonaError, DaytonaNotFoundError, FileDownloadRequest, FileUpload

from tests.localdaytona.clients import create, eventually


@pytest.fixture
async def sandbox(sdk: AsyncDaytona) -> AsyncSandbox:
    """A started sandbox."""
    return await create(sdk, "files")


@pytest.mark.parametrize("name", ["plain.txt", "a b.txt", 'quo"te.txt', "umläut ☃.txt", "per%20cent", "deep/er/file"])
@pytest.mark.parametrize("content", [b"", b"\r\n--x\x00\xff" * 100_000], ids=["empty", "binary"])
async def test_upload_is_downloaded_unchanged(sandbox: AsyncSandbox, name: str, content: bytes) -> None:
    """That holds for any name, missing parent directories, any content, and none at all."""
    await sandbox.fs.upload_file(content, name)
    assert await sandbox.fs.download_file(name) == content


async def test_upload_overwrites_and_commands_see_it(sandbox: AsyncSandbox) -> None:
    """A path in the home directory and a relative one name the same file, which commands see, too."""
    await sandbox.fs.upload_file(b"a long first version", "/home/daytona/x")
    await sandbox.fs.upload_file(b"second", "x")
    assert (await sandbox.process.exec("cat x")).result == "second"
    home = await sandbox.get_user_home_dir()
    assert await sandbox.fs.download_file(f"{home}/x") == b"second"


async def test_missing_file_among_others_has_its_own_error(sandbox: AsyncSandbox) -> None:
    """The other files are downloaded."""
    await sandbox.fs.upload_files([FileUpload(b"1", "one"), FileUpload(b"3", "three")])
    asked = [FileDownloadRequest(source=name) for name in ("one", "two", "three")]
    got = await sandbox.fs.download_files(asked)
    assert [each.result for each in got] == [b"1", None, b"3"]
    assert [each.error for each in got] == [None, "not found: file not found: two", None]
    with pytest.raises(DaytonaNotFoundError, match="file not found: two"):
        await sandbox.fs.download_file("two")


async def test_upload_onto_a_directory_fails_and_the_rest_is_written(sandbox: AsyncSandbox) -> None:
    """The reply is a 400 that names the file; the others are written."""
    await sandbox.fs.create_folder("d", "755")
    with pytest.raises(DaytonaError) as refusal:
        await sandbox.fs.upload_files([FileUpload(b"x", "d"), FileUpload(b"y", "good")])
    assert refusal.value.status_code == 400
    assert await sandbox.fs.download_file("good") == b"y"


async def test_folder_list_info_and_delete(sandbox: AsyncSandbox) -> None:
    """A directory is made with its mode, listed to a depth, described, and removed only with `recursive`."""
    await sandbox.fs.create_folder("top/sub", "700")
    await sandbox.fs.upload_file(b"12345", "top/file")
    listed = await sandbox.fs.list_files("top")
    assert [(each.name, each.is_dir, each.size) for each in listed if not each.is_dir] == [("file", False, 5)]
    assert [each.name for each in listed] == ["file", "sub"]
    assert len(await sandbox.fs.list_files(".", depth=2)) == 3
    info = await sandbox.fs.get_file_info("top/sub")
    assert (info.is_dir, info.permissions, info.mode) == (True, "0700", "drwx------")
    with pytest.raises(DaytonaError, match="is a directory"):
        await sandbox.fs.delete_file("top")
    await sandbox.fs.delete_file("top", recursive=True)
    with pytest.raises(DaytonaNotFoundError):
        await sandbox.fs.get_file_info("top")


@pytest.mark.parametrize("path", ["../../../../../../etc/passwd", "/home/daytona/../../../etc/passwd", "/etc/passwd"])
async def test_no_path_leads_out_of_the_sandbox(sandbox: AsyncSandbox, path: str) -> None:
    """`..` stops at the sandbox's root, which is the sandbox's own directory."""
    with pytest.raises(DaytonaNotFoundError):
        await sandbox.fs.download_file(path)
    await sandbox.fs.upload_file(b"mine", path)
    assert await sandbox.fs.download_file("/etc/passwd") == b"mine"
    assert Path("/etc/passwd").read_bytes() != b"mine"


async def test_link_out_of_the_sandbox_is_not_followed(sandbox: AsyncSandbox) -> None:
    """Neither a link nor a directory behind one is read or written; the link itself can be removed."""
    await sandbox.process.exec("ln -s /etc out; ln -s /etc/passwd file")
    for path in ("file", "out/passwd"):
        with pytest.raises(DaytonaError, match="leaves the sandbox"):
            await sandbox.fs.download_file(path)
        with pytest.raises(DaytonaError):
            await sandbox.fs.upload_file(b"x", path)
    await sandbox.fs.delete_file("file")
    assert (await sandbox.process.exec("test -e /etc/passwd && ! test -L file")).exit_code == 0


@pytest.mark.parametrize(
    ("made", "text"), [("mkfifo x", "not a regular file"), ("ln -s y x; ln -s x y", "too many links")]
)
async def test_what_is_no_file_is_refused_at_once(sandbox: AsyncSandbox, made: str, text: str) -> None:
    """Reads and writes report a pipe or a cycle of links as such, and do not block."""
    await sandbox.process.exec(made)
    async with asyncio.timeout(5):
        with pytest.raises(DaytonaError, match=text):
            await sandbox.fs.download_file("x")
        with pytest.raises(DaytonaError, match="400"):
            await sandbox.fs.upload_file(b"content", "x")
        assert (await sandbox.process.exec("echo alive")).result == "alive\n"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may remove what is in read-only directories anyway")
async def test_read_only_directories_end_with_the_sandbox(sandbox: AsyncSandbox, tmp_path: Path) -> None:
    """Nothing is left of a deleted sandbox, not even what it made read-only."""
    await sandbox.process.exec("mkdir -p a/b; touch a/b/c; chmod 555 a/b a")
    await sandbox.delete(wait=True)

    async def read() -> bool:
        return not (tmp_path / "sandboxes" / sandbox.id).exists()

    await eventually(read)


async def test_home_itself_cannot_be_deleted(sandbox: AsyncSandbox) -> None:
    """`recursive` on the home directory deletes the files, never the sandbox's own directory."""
    for path in (".", "/", "/home/daytona"):
        with pytest.raises(DaytonaError, match="cannot delete"):
            await sandbox.fs.delete_file(path, recursive=True)
