"""Downloads over HTTP that break off, lie, are refused and are taken up again."""

import re
from pathlib import Path

import pytest

from benchmarks.api import UsageError
from benchmarks.tasks.papers.downloads import downloads, obtain, pinned_digest
from tests.unit.benchmarks.tasks.papers.archives_of import Handler, lay

PUBLISHED, PINNED = "wmt-dev", "iwslt14-de-en"


def quiet(_line: str) -> None:
    pass


def test_every_checksum_has_a_publisher() -> None:
    for download in downloads().values():
        assert download.url.startswith(("http://", "https://")) and "/" not in download.file
        assert (download.sha256 is None) == (download.bytes is None) == download.source.startswith("none")
        assert download.sha256 is None or re.fullmatch("[0-9a-f]{64}", download.sha256)
    assert len({download.file for download in downloads().values()}) == len(downloads())


@pytest.mark.parametrize("name", [PUBLISHED, PINNED])
def test_a_download_that_breaks_off_is_resumed(declared, contents, name: str) -> None:
    Handler.cut[:] = [400, 300]
    path = obtain(declared[name], None, quiet)
    assert path.read_bytes() == contents[name]
    assert [asked for _, asked in Handler.asked] == [None, "bytes=300-", "bytes=700-"]
    Handler.asked.clear()
    assert obtain(declared[name], None, quiet) == path and not Handler.asked


@pytest.mark.parametrize("name", [PUBLISHED, PINNED])
def test_a_command_that_was_killed_goes_on(declared, contents, name: str) -> None:
    Handler.cut[:] = [10, 10, 10]
    with pytest.raises(
        UsageError, match=r"could not fetch http.*\n.*try again|could not fetch .*\ntry again"
    ):
        obtain(declared[name], None, quiet)
    assert obtain(declared[name], None, quiet).read_bytes() == contents[name]
    assert Handler.asked[-1][1] == "bytes=30-"


@pytest.mark.parametrize("name", [PUBLISHED, PINNED])
def test_a_server_without_ranges_sends_all_again(declared, contents, name: str) -> None:
    Handler.ranges = False
    Handler.cut[:] = [100]
    assert obtain(declared[name], None, quiet).read_bytes() == contents[name]


@pytest.mark.parametrize("name", [PUBLISHED, PINNED])
@pytest.mark.parametrize("code", [403, 404, 500, 503])
def test_errors_of_the_server(declared, contents, name: str, code: int) -> None:
    Handler.codes[:] = [code]
    assert obtain(declared[name], None, quiet).read_bytes() == contents[name], "one error is tried again"
    obtain(declared[name], None, quiet).unlink()
    Handler.codes[:] = [code] * 3
    with pytest.raises(UsageError, match="could not fetch http://127.0.0.1"):
        obtain(declared[name], None, quiet)


def test_other_bytes_are_refused(declared, contents) -> None:
    file = declared[PUBLISHED].file
    Handler.bodies = Handler.bodies | {file: b"?" * len(contents[PUBLISHED])}
    with pytest.raises(UsageError, match="has been altered: expected sha256"):
        obtain(declared[PUBLISHED], None, quiet)
    Handler.bodies = Handler.bodies | {file: contents[PUBLISHED][:-5]}
    with pytest.raises(UsageError, match="cut short"):
        obtain(declared[PUBLISHED], None, quiet)


def test_a_part_longer_than_the_file_begins_anew(declared, contents) -> None:
    path = obtain(declared[PINNED], None, quiet)
    path.rename(path.with_name(path.name + ".part"))
    with path.with_name(path.name + ".part").open("ab") as part:
        part.write(b"more")
    assert obtain(declared[PINNED], None, quiet).read_bytes() == contents[PINNED]


def test_a_file_without_a_checksum_is_pinned_on_first_use(declared, contents) -> None:
    said: list[str] = []
    path = obtain(declared[PINNED], None, said.append)
    assert "no checksum is published" in said[0] and pinned_digest(path) in said[1]
    path.write_bytes(contents[PINNED] + b"!")
    with pytest.raises(
        UsageError, match=r"has been altered: sha256 .*when it was first used\nfetch it again"
    ):
        obtain(declared[PINNED], None, quiet)


@pytest.mark.parametrize("text", ["", "0123"])
def test_a_pin_that_was_cut_off_is_refused_with_the_command_that_clears_it(declared, text: str) -> None:
    path = obtain(declared[PINNED], None, quiet)
    pin = path.with_name(f"{path.name}.sha256")
    pin.write_text(text)
    with pytest.raises(UsageError, match=re.escape(f"fetch it again: rm '{path}' '{pin}'")):
        obtain(declared[PINNED], None, quiet)


def test_a_folder_of_the_users(declared, contents, tmp_path: Path) -> None:
    folder = lay(tmp_path / "mine", contents)
    assert obtain(declared[PUBLISHED], folder, quiet) == folder / "papers" / "dev.tgz"
    (folder / "papers" / "dev.tgz").write_bytes(b"x")
    with pytest.raises(UsageError, match=r"cut short.*\nfetch it again: curl"):
        obtain(declared[PUBLISHED], folder, quiet)
    (folder / "papers" / "dev.tgz").unlink()
    with pytest.raises(UsageError, match=r"no file .*dev.tgz'\nput it there: curl -L -C -"):
        obtain(declared[PUBLISHED], folder, quiet)
    assert not Handler.asked
