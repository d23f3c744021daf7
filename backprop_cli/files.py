"""The one way a file is written, and the one way outside bytes and text are taken in.

A file is written under a temporary name beside its place and moved there when it is safely on the disk: a reader,
at any moment and after any crash, finds the old file or the new one, whole.
"""

import errno
import json
import math
import os
import re
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

_TEMPORARY = r"\..{1,40}\.([1-9][0-9]{0,9})\.[0-9a-f]{8}\.tmp"
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # control characters
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # what turns the direction of writing
    "\u2028\u2029"  # what breaks a line
    "\ud800-\udfff]"  # surrogates: bytes of file names that are no UTF-8
)
_ADDRESS = re.compile(r"(https?|ftp)://?(?=[^/])", re.IGNORECASE)  # one slash is what `Path` leaves of two
_PATTERN = re.compile(r"[*?]|\[.+\]")
_MAX_JSON_DEPTH = 32
_MAX_INT_CHARACTERS = 40  # a random generator's state has 128 bits: 39 digits


def shipped(name: str, checkout: str) -> Path:
    """Return the folder that travels in a wheel under `name`, and lies at `checkout` in a clone."""
    inside = Path(__file__).parent / name
    return inside if inside.is_dir() else Path(__file__).parents[1] / checkout


def spelled_out(name: str, folder: Path | None = None, *, home: bool = True, variables: bool = True) -> str:
    """Return a file's name with what a shell would have put in its place; a file that bears the very name wins.

    Args:
        name: As a person wrote it.
        folder: What a relative name is relative to; None: the working directory.
        home: Whether `~` and `~user` at its beginning are spelled out.
        variables: Whether `$VAR` and `${VAR}` are; those that are not set stay.
    """
    with suppress(ValueError):  # a NUL, or surrogates that stand for no byte
        if not os.path.lexists((folder or Path()) / name):
            name = os.path.expanduser(name) if home else name  # noqa: PTH111  (`Path` raises where nobody is at home)
            name = os.path.expandvars(name) if variables else name
    return name


def is_address(name: str) -> bool:
    """Return whether a name is an address of the web."""
    return _ADDRESS.match(name) is not None


def why_no_file(name: str, instead: str) -> str | None:
    """Return why there is no file of a name that only looks like a file's; None where there is one, or nobody knows.

    Args:
        name: An address of the web, a pattern such as `*.png`, or anything else.
        instead: What to do in place of giving an address.
    """
    if os.path.lexists(name):
        return None
    if is_address(name):
        return f"a web address, from which nothing is downloaded; {instead}"
    path = Path(name)
    if any(_PATTERN.search(one.name) and not os.path.lexists(one) for one in (path, *path.parents)):
        return "a pattern that the shell did not expand: nothing matches it, or it is in quotes"
    return None


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file so that no failure at any moment leaves less than the old file or the whole new one.

    A symbolic link at `path` is replaced, not followed; anything else but a regular file is refused.

    Raises:
        OSError: With `path` as its `filename`. The old file is still there, unless it was the last step that failed
            (making the new name durable), and no temporary is left. A failed fsync is not tried again: the kernel may
            have dropped the data and call the second one a success.
    """
    temporary = path.parent / f".{path.name[:40]}.{os.getpid()}.{os.urandom(4).hex()}.tmp"
    with naming_errors(path):
        try:
            _refuse_odd_target(path)
            _write_durably(temporary, data)
            temporary.replace(path)
            sync_directory(path.parent)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise


def write_new(path: Path, data: bytes) -> None:
    """Write a file where none is yet; what is there is never touched.

    Raises:
        OSError: With `path` as its `filename`; FileExistsError where something has that name.
    """
    with naming_errors(path):
        try:
            _write_durably(path, data)
            sync_directory(path.parent)
        except FileExistsError:
            raise
        except BaseException:
            with suppress(OSError):
                path.unlink()
            raise


@contextmanager
def naming_errors(path: Path) -> Iterator[None]:
    """Let every OSError inside the block name `path`: calls on descriptors know no file, temporaries are private."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def _refuse_odd_target(path: Path) -> None:
    """Raise OSError where `path` is a directory, a device or a pipe: replacing /dev/null would break the machine."""
    with suppress(FileNotFoundError):
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "not a regular file")


def _write_durably(path: Path, data: bytes) -> None:
    """Make a new file, its mode left to the umask, and wait until its bytes are on the disk."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags, 0o666)
    try:
        write_all(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of `data`, in as many calls as the system wants."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def sync_directory(directory: Path) -> None:
    """Wait until the names in a directory are on the disk, where the system can do that and we may ask for it."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:  # files may be made in it, but it may not be read
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # EINVAL: this file system does not sync directories
            raise
    finally:
        os.close(descriptor)


def remove_litter(directory: Path, *, locked: bool) -> None:
    """Remove the temporaries that killed processes left in a directory; what cannot be removed stays.

    Args:
        directory: Where `write_atomic` has written.
        locked: The caller holds the directory's lock, so the maker of the temporaries is dead. Otherwise only those
            go whose process is gone.
    """
    for path in list_litter(directory):
        match = re.fullmatch(_TEMPORARY, path.name, re.DOTALL)
        if match and (locked or not _is_alive(int(match[1]))):
            with suppress(OSError):
                path.unlink()


def list_litter(directory: Path) -> list[Path]:
    """Return the files in a directory that bear the name of a temporary of `write_atomic`."""
    try:
        return sorted(path for path in directory.iterdir() if re.fullmatch(_TEMPORARY, path.name, re.DOTALL))
    except OSError:
        return []


def _is_alive(pid: int) -> bool:
    """Return whether there is a process of that number, as far as this system can tell."""
    if os.name != "posix":  # elsewhere os.kill(pid, 0) is not a question
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def read_bounded(path: Path, limit: int) -> bytes:
    """Read a whole regular file once, never blocking on a pipe or device and never taking more than `limit` bytes.

    Raises:
        OSError: For every failure, also the ones found here (no regular file, too large, changed while it was read).
            `strerror` is the line for people: callers make their own error of `f"{clean(path)}: {error.strerror}"`.
    """
    file, size = _opened(path)
    with file:
        if size > limit:
            raise OSError(errno.EFBIG, f"larger than {_megabytes(limit)}", str(path))
        data = file.read(size + 1)
    if len(data) != size:
        raise OSError(errno.EBUSY, "changed while it was read", str(path))
    return data


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading; a pipe or a device is refused, not waited for.

    Raises:
        OSError: As `read_bounded`.
    """
    return _opened(path)[0]


def _opened(path: Path) -> tuple[BinaryIO, int]:
    """Return a regular file open for reading, and its size in bytes."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags)
    except ValueError:  # a NUL, or surrogates that stand for no byte
        raise OSError(errno.EINVAL, "not a file name", str(path)) from None
    try:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        return os.fdopen(descriptor, "rb"), status.st_size
    except BaseException:
        os.close(descriptor)
        raise


def read_stdin(limit: int) -> bytes:
    """Read all of standard input, which may be a pipe.

    Raises:
        OSError: There is none, or it is larger than `limit` bytes; its `strerror` is the line for people.
    """
    stdin = getattr(sys.stdin, "buffer", None)
    if stdin is None or stdin.closed:
        raise OSError(errno.EBADF, "there is no standard input to read", "-")
    data: bytes = stdin.read(limit + 1)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"larger than {_megabytes(limit)}", "-")
    return data


def _megabytes(limit: int) -> str:
    return f"{limit // 2**20} MB" if limit >= 2**20 else f"{limit} bytes"


def clean(text: object) -> str:
    r"""Return outside text in one printable line: what steers a terminal becomes visible, all else stays as it is.

    Control and bidirectional characters become \xNN or \uNNNN; so do surrogates, the undecodable bytes of file names
    as those bytes.
    """
    return _UNPRINTABLE.sub(_escape, str(text))


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:  # how Python keeps a byte that is no UTF-8
        code -= 0xDC00
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}"


def parse_json(text: str) -> object:
    """Return the value of a JSON text from outside, strictly.

    Raises:
        ValueError: For invalid JSON, and for what JSON or Python leave open: a duplicate key, NaN and
            infinities (also as 1e999), integers of over 40 characters, more than 32 levels.
    """
    try:
        value: object = json.loads(
            text,
            parse_constant=_refuse_constant,
            parse_float=_finite_float,
            parse_int=_short_int,
            object_pairs_hook=_unique_keys,
        )
    except RecursionError:
        raise ValueError("JSON is nested too deeply") from None
    except json.JSONDecodeError:
        raise ValueError("not valid JSON") from None
    _check_depth(value, _MAX_JSON_DEPTH)
    return value


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not allowed in JSON")


def _finite_float(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError("a number in JSON is out of range")
    return value


def _short_int(digits: str) -> int:
    if len(digits) > _MAX_INT_CHARACTERS:
        raise ValueError("a number in JSON is out of range")
    return int(digits)


def _unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a duplicate key in JSON")
    return result


def _check_depth(value: object, allowed: int) -> None:
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if children and not allowed:
        raise ValueError("JSON is nested too deeply")
    for child in children:
        _check_depth(child, allowed - 1)
