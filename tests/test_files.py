import errno
import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import backprop_cli
from backprop_cli.files import clean, list_litter, parse_json, read_bounded, remove_litter, write_atomic


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_file_is_written_and_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomic(path, b"old")
    write_atomic(path, b"new" * 100_000)
    assert path.read_bytes() == b"new" * 100_000
    assert names_in(tmp_path) == ["file"]


@pytest.mark.parametrize(("umask", "mode"), [(0o027, 0o640), (0o000, 0o666)])
def test_the_mode_follows_the_umask(tmp_path: Path, umask: int, mode: int) -> None:
    old = os.umask(umask)
    try:
        write_atomic(tmp_path / "file", b"")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode


def test_the_steps_come_in_the_order_that_makes_them_safe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    for name in ("write", "fsync", "close", "replace"):
        original = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, _n=name, _o=original, **k: (calls.append(_n), _o(*a, **k))[1])
    write_atomic(tmp_path / "file", b"data")
    assert calls == ["write", "fsync", "close", "replace", "fsync", "close"]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EIO])
def test_a_file_system_that_does_not_sync_directories_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    original = os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        original(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    if number == errno.EINVAL:  # how it says so
        write_atomic(tmp_path / "file", b"data")
    else:
        with pytest.raises(OSError, match=os.strerror(number)):
            write_atomic(tmp_path / "file", b"data")
    assert names_in(tmp_path) == ["file"]


@pytest.mark.parametrize("step", ["write", "fsync", "replace", "open"])
@pytest.mark.parametrize(
    "failure", [OSError(errno.ENOSPC, "No space left on device"), OSError("odd"), KeyboardInterrupt(), MemoryError()]
)
def test_a_failure_at_any_step_leaves_the_old_file_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, failure: BaseException
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    calls = []

    def fail(*args: object, **kwargs: object) -> None:
        calls.append(step)
        raise failure

    with monkeypatch.context() as patch:
        patch.setattr(os, step, fail)
        with pytest.raises(type(failure)) as caught:
            write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert names_in(tmp_path) == ["file"]
    assert len(calls) == 1  # nothing is tried a second time, least of all fsync
    if isinstance(caught.value, OSError):
        assert caught.value.filename == str(path)
        assert caught.value.strerror == (failure.strerror or "odd")  # type: ignore[attr-defined]


def test_a_write_that_fails_half_way_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    original = os.write
    written = []

    def write_little(descriptor: int, data: memoryview) -> int:
        if len(written) == 3:
            raise OSError(errno.EDQUOT, "Disk quota exceeded")
        written.append(original(descriptor, data[:2]))
        return 2

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write_little)
        with pytest.raises(OSError, match="quota"):
            write_atomic(path, b"0123456789")
    assert written == [2, 2, 2]
    assert path.read_bytes() == b"old"
    assert names_in(tmp_path) == ["file"]


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: original(descriptor, data[:3]))
    write_atomic(tmp_path / "file", b"0123456789")
    assert (tmp_path / "file").read_bytes() == b"0123456789"


def test_a_full_disk_is_told_with_the_file_it_met(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    path = tmp_path / "file"
    path.write_bytes(b"old")
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        with pytest.raises(OSError, match="File too large") as caught:
            write_atomic(path, bytes(5000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert caught.value.filename == str(path)
    assert path.read_bytes() == b"old"
    assert names_in(tmp_path) == ["file"]


def test_only_regular_files_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "null").symlink_to("/dev/null")
    for name in ("folder", "pipe", "null", "", ".."):
        with pytest.raises(OSError, match=r"regular file|Is a directory"):
            write_atomic(tmp_path / name, b"data")
    with pytest.raises(IsADirectoryError):
        write_atomic(Path("/"), b"data")
    assert names_in(tmp_path) == ["folder", "null", "pipe"]


def test_a_link_is_replaced_and_its_target_left_alone(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"precious")
    (tmp_path / "link").symlink_to("target")
    write_atomic(tmp_path / "link", b"data")
    assert (tmp_path / "target").read_bytes() == b"precious"
    assert not (tmp_path / "link").is_symlink()


def test_what_lies_under_the_temporary_name_is_not_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "target").write_bytes(b"precious")
    (tmp_path / f".file.{os.getpid()}.00000000.tmp").symlink_to("target")
    monkeypatch.setattr(os, "urandom", bytes)
    with pytest.raises(FileExistsError):
        write_atomic(tmp_path / "file", b"data")
    assert (tmp_path / "target").read_bytes() == b"precious"


@pytest.mark.parametrize("name", ["n" * 255, "é" * 127, "\U0001f600" * 63, "a b", "-rf", "\udcff"])
def test_any_file_name_that_fits_can_be_written(tmp_path: Path, name: str) -> None:
    write_atomic(tmp_path / name, b"data")
    assert (tmp_path / name).read_bytes() == b"data"


def killed_while_writing(directory: Path) -> None:
    """Run a process that is killed with a temporary in its hands."""
    code = (
        "import os, signal, sys; from pathlib import Path; from backprop_cli import files\n"
        "os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)\n"
        "files.write_atomic(Path(sys.argv[1]) / 'file', b'data')"
    )
    package = Path(backprop_cli.__file__).parents[1]
    process = subprocess.run([sys.executable, "-c", code, str(directory)], cwd=package, check=False)
    assert process.returncode == -signal.SIGKILL


def test_litter_of_a_killed_process_is_found_and_removed(tmp_path: Path) -> None:
    killed_while_writing(tmp_path)
    foreign = [".hidden.tmp", "file.123.0123abcd.tmp", ".file.123.tmp", ".file.99999999999.0123abcd.tmp", "notes"]
    mine = f".file.{os.getpid()}.0123abcd.tmp"
    for name in (*foreign, mine):
        (tmp_path / name).touch()
    assert len(list_litter(tmp_path)) == 2
    remove_litter(tmp_path, locked=False)  # the one whose process is alive may still be written
    assert names_in(tmp_path) == sorted([*foreign, mine])
    remove_litter(tmp_path, locked=True)
    assert names_in(tmp_path) == sorted(foreign)


@pytest.mark.parametrize(
    ("failure", "left"),
    [(ProcessLookupError(), []), (OverflowError(), []), (PermissionError(), [".file.7.0123abcd.tmp"])],
)
def test_litter_of_another_users_process_that_lives_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception, left: list[str]
) -> None:
    def kill(pid: int, signum: int) -> None:
        assert (pid, signum) == (7, 0)  # a question, not a signal
        raise failure

    monkeypatch.setattr(os, "kill", kill)
    (tmp_path / ".file.7.0123abcd.tmp").touch()
    remove_litter(tmp_path, locked=False)
    assert names_in(tmp_path) == left


def test_litter_in_no_directory_is_none(tmp_path: Path) -> None:
    assert list_litter(tmp_path / "missing") == []


def test_reading_takes_up_to_the_limit_and_no_more(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_bounded(path, 5) == b"12345"
    with pytest.raises(OSError, match="larger than 4 bytes") as caught:
        read_bounded(path, 4)
    assert caught.value.filename == str(path)


@pytest.mark.parametrize(
    ("limit", "told"),
    [(0, "0 bytes"), (2**20 - 1, "1048575 bytes"), (2**20, "1 MB"), (5 * 2**20, "5 MB")],
)
def test_the_limit_is_told_in_bytes_or_megabytes(tmp_path: Path, limit: int, told: str) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(limit + 1)
    with pytest.raises(OSError, match="larger") as caught:
        read_bounded(tmp_path / "sparse", limit)
    assert caught.value.strerror == f"larger than {told}"


def test_a_file_of_many_gigabytes_is_refused_by_its_size(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(OSError, match="larger than 256 MB"):
        read_bounded(tmp_path / "sparse", 256 * 2**20)


@pytest.mark.parametrize("then", [b"1234", b"123456"])
def test_a_file_that_changes_while_it_is_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, then: bytes
) -> None:
    path, original = tmp_path / "file", os.fstat
    path.write_bytes(b"12345")

    def fstat(descriptor: int) -> os.stat_result:
        found = original(descriptor)
        if found.st_ino == path.stat().st_ino and found.st_size == 5:
            path.write_bytes(then)
        return found

    monkeypatch.setattr(os, "fstat", fstat)
    with pytest.raises(OSError, match="changed while it was read") as caught:
        read_bounded(path, 100)
    assert caught.value.filename == str(path)


def test_only_regular_files_are_read_and_a_pipe_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/zero")):
        with pytest.raises(OSError, match=r"not a regular file|Is a directory"):
            read_bounded(path, 100)
    with pytest.raises(FileNotFoundError):
        read_bounded(tmp_path / "missing", 100)
    for name in ("nul\0", "\ud800"):
        with pytest.raises(OSError, match="not a file name"):
            read_bounded(tmp_path / name, 100)


def test_reading_leaks_no_descriptor(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(10):
        with pytest.raises(OSError, match="directory"):
            read_bounded(tmp_path, 100)
        (tmp_path / "file").write_bytes(b"data")
        read_bounded(tmp_path / "file", 100)
        write_atomic(tmp_path / "file", b"more")
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("digit é 数字 😀 [bold]", "digit é 数字 😀 [bold]"),
        ("\x1b[2Ja\nb\tc\r\x00\x7f", r"\x1b[2Ja\x0ab\x09c\x0d\x00\x7f"),
        ("\x85\x9b", r"\x85\x9b"),
        ("a\u202eb\u2066c\u200fd\u061c", r"a\u202eb\u2066c\u200fd\u061c"),
        ("\u2028", r"\u2028"),
        ("caf\udce9 \ud800", r"caf\xe9 \ud800"),
        ("\udc7f\udc80\udcff\udd00", r"\udc7f\x80\xff\udd00"),  # bytes of file names are 0x80 to 0xff
        ("\x1f \x7e\x7f\x80\x9f\xa0", "\\x1f \x7e\\x7f\\x80\\x9f\xa0"),
        (Path("a\nb"), r"a\x0ab"),
        (ValueError("x\x1b"), r"x\x1b"),
    ],
)
def test_outside_text_becomes_one_harmless_line(text: object, printed: str) -> None:
    assert clean(text) == printed


@given(st.text())
def test_clean_text_can_be_encoded_and_stays_clean(text: str) -> None:
    cleaned = clean(text)
    cleaned.encode("utf-8")
    assert clean(cleaned) == cleaned
    assert "\n" not in cleaned


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"a": 1, "a": 2}', "a duplicate key in JSON"),
        ("NaN", "NaN is not allowed in JSON"),
        ("[-Infinity]", "-Infinity is not allowed in JSON"),
        *((text, "a number in JSON is out of range") for text in ("1e999", "-1e999", "1" * 41, "1" * 5000)),
        ("[" * 33 + "1" + "]" * 33, "JSON is nested too deeply"),
        ('{"a":' * 33 + "1" + "}" * 33, "JSON is nested too deeply"),
        ("[" * 500_000, "JSON is nested too deeply"),
        ('{"a":' * 100_000, "JSON is nested too deeply"),
        *((text, "not valid JSON") for text in ("", "{", "{'a': 1}")),
    ],
)
def test_lax_json_is_refused(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=f"^{told}$"):
        parse_json(text)


def test_json_at_the_limits_is_read() -> None:
    assert parse_json("9" * 40) == 10**40 - 1
    assert parse_json("-1.7976931348623157e308") == -sys.float_info.max
    value = parse_json("[" * 32 + "1" + "]" * 32)
    for _ in range(32):
        assert isinstance(value, list)
        (value,) = value
    assert value == 1


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**128), 2**128) | st.floats(allow_nan=False, allow_infinity=False),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=10,
    )
)
def test_plain_json_comes_back_as_it_was(value: object) -> None:
    assert parse_json(json.dumps(value)) == value
