"""Packages are read without extracting them; anything but plain files and links inside is refused by name."""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib

import pytest
from made_packages import member, package, pax, record, simple, tar

from core.errors import InputTooLarge, InvalidInput
from core.packages import EXPANSION, FREE, PackageLimits, iterate_entries

LIMITS = PackageLimits(files=20, bytes=300 * 1024**2)
END = bytes(1024)
FILE = tarfile.TarInfo("a").tobuf(tarfile.USTAR_FORMAT)


def read(data: bytes, limits: PackageLimits = LIMITS) -> list[tuple[str, str, bytes]]:
    """Path, mode and content of each entry."""
    return [
        (entry.path.decode(), entry.mode.decode(), b"".join(entry.content))
        for entry in iterate_entries(io.BytesIO(data), len(data), limits)
    ]


def test_files_links_and_executable_bits_are_read() -> None:
    long = "d/" * 60 + "ä" * 60
    made = package(
        member("a.py", b"x" * 1000),
        member("run.sh", b"", mode=0o755),
        member(long, b"long"),
        member("sub/link", kind=tarfile.SYMTYPE, target="../a.py"),
        member("sub/far", kind=tarfile.SYMTYPE, target="ö" * 120),
    )
    assert read(made) == [
        ("a.py", "100644", b"x" * 1000),
        ("run.sh", "100755", b""),
        (long, "100644", b"long"),
        ("sub/link", "120000", b"../a.py"),
        ("sub/far", "120000", ("ö" * 120).encode()),
    ]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_archives_of_other_programs_are_read(form: int) -> None:
    long = "a" * 90 + "/" + "b" * 50
    made = package(
        member(".", kind=tarfile.DIRTYPE), member("./x/", kind=tarfile.DIRTYPE), member("./x/f", b"1"), member(long, b"2"),
        form=form,
    )  # fmt: skip
    assert read(made) == [("x/f", "100644", b"1"), (long, "100644", b"2")]


def test_large_files_are_streamed() -> None:
    content = bytes(range(256)) * 4096 * 3
    assert read(package(member("big", content), member("next", b"1"))) == [
        ("big", "100644", content),
        ("next", "100644", b"1"),
    ]


def test_unread_contents_are_skipped() -> None:
    made = package(member("a", b"x" * 1_000_000), member("b", b"y" * 10))
    assert [entry.path for entry in iterate_entries(io.BytesIO(made), len(made), LIMITS)] == [b"a", b"b"]


def link(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, kind=tarfile.SYMTYPE, target=target)


def squeezed(raw: bytes) -> bytes:
    return gzip.compress(raw, mtime=0)


def named(name: bytes) -> bytes:
    """A package whose only file has a raw name."""
    return squeezed(pax(record(b"path", name), FILE + END))


HOSTILE = {
    "absolute name": (package(member("/etc/passwd")), '"/etc/passwd" is an absolute name'),
    "absolute directory": (package(member("/etc", kind=tarfile.DIRTYPE)), "is an absolute name"),
    "absolute after a dot": (named(b".//etc/x"), "is an absolute name"),
    "parent": (package(member("a/../../b")), '"a/../../b" leads out of the package'),
    "parent directory": (package(member("..", kind=tarfile.DIRTYPE)), "leads out of the package"),
    "dot inside": (named(b"a/./b"), "is not a plain relative name"),
    "double slash": (named(b"a//b"), "is not a plain relative name"),
    "empty name": (named(b""), "is not a plain relative name"),
    "NUL in a name": (named(b"a\0b"), "is not a plain relative name"),
    "not UTF-8": (named(b"a\xff"), "is not UTF-8"),
    "not UTF-8 in ustar": (
        squeezed(tarfile.TarInfo("a\udcff").tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape") + END),
        "is not UTF-8",
    ),
    ".git": (package(member(".git/config")), "contains a name that git rejects"),
    ".GIT inside": (package(member("sub/.GIT/hooks/x")), "contains a name that git rejects"),
    "short name of .git": (package(member("GIT~1")), "contains a name that git rejects"),
    "twice": (package(member("a"), member("a")), '"a" twice'),
    "twice, with a dot": (package(member("a"), member("./a")), '"a" twice'),
    "file and directory": (package(member("a"), member("a/b")), "is both a file and a directory"),
    "directory and file": (package(member("a/b"), member("a")), "is both a file and a directory"),
    "below a link": (package(link("a", "."), member("a/b")), "is both a file and a directory"),
    "directory over a link": (package(link("a", "b"), member("a", kind=tarfile.DIRTYPE)), "both a file and a directory"),
    "link to an absolute name": (package(link("a", "/etc")), 'points out of the package, to "/etc"'),
    "link out": (package(link("a/b", "../../x")), "points out of the package"),
    "link through a link": (package(link("a/b", "x/../../..")), "points out of the package"),
    "link to nothing": (package(link("a", "")), "has no valid target"),
    "hard link": (package(member("a"), member("b", kind=tarfile.LNKTYPE, target="a")), '"b" is a hard link'),
    "device": (package(member("a", kind=tarfile.CHRTYPE)), '"a" is a device'),
    "block device": (package(member("a", kind=tarfile.BLKTYPE)), '"a" is a device'),
    "pipe": (package(member("a", kind=tarfile.FIFOTYPE)), "is a named pipe"),
    "sparse": (squeezed(pax(record(b"GNU.sparse.major", b"1"), FILE + END)), "is a sparse file"),
    "unknown kind": (package(member("a", kind=b"V")), "of the unknown kind"),
    "too deep": (package(member("d/" * 300 + "f")), "nested too deep"),
    "long name": (package(member("n" * 300)), "is too long"),
    "very long header": (squeezed(pax(b"9" * 100_000)), "an extended header of more than"),
    "endless headers": (squeezed(pax(record(b"mtime", b"1")) * 1000), "more than 8 extended headers"),
    "header without a file": (squeezed(pax(record(b"path", b"x"), END)), "belongs to no file"),
    "damaged PAX": (squeezed(pax(b"99 path=x\n", FILE + END)), "a damaged extended header"),
    "PAX record of nothing": (squeezed(pax(b"5 a=b\n", FILE + END)), "a damaged extended header"),
    "negative size": (squeezed(pax(record(b"size", b"-5"), FILE + END)), "has an impossible size"),
    "huge size": (squeezed(pax(record(b"size", b"9" * 18), FILE + END)), "it unpacks to more than 300 MiB"),
    "link with content": (squeezed(pax(record(b"size", b"5"), tar([link("a", "b")]))), "has an impossible size"),
    "not gzip": (b"PK\x03\x04" + bytes(500), "is not a valid gzip file"),
    "nothing": (b"", "the gzip stream breaks off"),
    "not tar": (squeezed(b"hello" * 1000), "is not a valid tar archive"),
    "damaged tar": (squeezed(FILE[:100] + b"X" + FILE[101:] + END), "is not a valid tar archive"),
    "damaged in the middle": (squeezed(FILE + b"X" * 512 + END), "is not a valid tar archive"),
    "tar without end": (squeezed(FILE), "the tar archive breaks off"),
    "cut gzip": (simple()[:-12], "the gzip stream breaks off"),
    "wrong checksum": (simple()[:-8] + b"\0\0\0\0" + simple()[-4:], "is not a valid gzip file"),
    "two gzip streams": (simple() + simple(), "data follows the end of its gzip stream"),
    "data after the tar": (squeezed(FILE + END + b"x" * 512), "data follows the end of its tar archive"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_refused(name: str) -> None:
    data, sentence = HOSTILE[name]
    with pytest.raises(InvalidInput) as refused:
        read(data)
    assert sentence in str(refused.value)


def test_a_package_of_too_many_files_is_refused() -> None:
    made = package(*(member(f"f{number}") for number in range(21)))
    with pytest.raises(InputTooLarge, match=r"more than 20 files and directories \(\[limits\] package_files\)"):
        read(made)


def test_a_bomb_is_refused_by_its_size_and_before_that_by_its_ratio() -> None:
    bomb = package(member("zeros", bytes(FREE + 2 * EXPANSION * 100_000)))
    with pytest.raises(InputTooLarge, match="more than 200 times its size"):
        read(bomb)
    with pytest.raises(InputTooLarge, match=r"more than 1.00 MiB \(\[limits\] package_unpacked\)"):
        read(bomb, PackageLimits(files=20, bytes=1024**2))


def test_endless_padding_is_a_bomb_too() -> None:
    squeeze = zlib.compressobj(9, zlib.DEFLATED, 31)
    made = squeeze.compress(FILE + bytes(FREE + 64 * 1024**2)) + squeeze.flush()
    with pytest.raises(InputTooLarge):
        read(made)
