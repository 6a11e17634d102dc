from __future__ import annotations

import pytest

from core.errors import GitError
from core.git import url


@pytest.mark.parametrize(
    ("text", "scheme", "address", "credentials"),
    [
        ("https://example.org/a/b.git", "https", "https://example.org/a/b.git", (None, None)),
        ("https://ada:p%40ss@example.org:8443/b", "https", "https://example.org:8443/b", ("ada", "p@ss")),
        ("http://example.org/b.git", "http", "http://example.org/b.git", (None, None)),
        ("ssh://git@example.org:2222/~ada/b.git", "ssh", "ssh://git@example.org:2222/~ada/b.git", (None, None)),
        ("git@example.org:a/b.git", "ssh", "git@example.org:a/b.git", (None, None)),
        ("/srv/my repositories/b.git", "file", "/srv/my repositories/b.git", (None, None)),
        ("file:///srv/b.git", "file", "/srv/b.git", (None, None)),
    ],
)
def test_the_usual_remotes_are_taken_and_their_credentials_kept_apart(
    text: str, scheme: str, address: str, credentials: tuple[str | None, str | None]
) -> None:
    remote = url.parse(text, allow_local=True, allow_http=True)
    assert (remote.scheme, remote.address) == (scheme, address)
    assert (remote.username, remote.password) == credentials


@pytest.mark.parametrize(
    ("text", "host", "path", "page"),
    [
        ("https://example.org/a/b.git", "example.org", "a/b", "https://example.org/a/b"),
        ("https://ada:pass@example.org:8443/g/s/b/", "example.org", "g/s/b", "https://example.org:8443/g/s/b"),
        ("http://example.org:3000/a/b", "example.org", "a/b", "http://example.org:3000/a/b"),
        ("ssh://git@example.org:2222/a/b.git", "example.org", "a/b", "https://example.org/a/b"),
        ("git@example.org:a/b.git", "example.org", "a/b", "https://example.org/a/b"),
        ("/srv/github.com/a:b.git", "", "", ""),
    ],
)
def test_a_remote_tells_where_people_look_at_it(text: str, host: str, path: str, page: str) -> None:
    remote = url.parse(text, allow_local=True, allow_http=True)
    assert (remote.host, remote.path, remote.page) == (host, path, page)


@pytest.mark.parametrize(
    "text",
    [
        "ext::sh -c touch% /tmp/owned",
        "EXT::sh -c x",
        "fd::17",
        "https::https://example.org/a",
        "--upload-pack=touch /tmp/owned",
        "-oProxyCommand=x@host:path",
        "ssh://-oProxyCommand=x/path",
        "ssh://-oProxyCommand=x@host/path",
        "ssh://git:password@host/path",
        "git@-oProxyCommand=x:path",
        "git@host:-path",
        "git://example.org/a",
        "ftp://example.org/a",
        "gopher://example.org/a",
        "https://example.org",
        "https:///a",
        "https://example.org:70000/a",
        "https://example.org/a b",
        "https://example.org/a\nb",
        "https://example.org/a\x00b",
        "https://example.org/a\x1b[31m",
        "https://example.org/a?private_token=x",
        "file://host/srv/a",
        "/srv/../etc",
        "srv/a",
        "./a",
        "~/a",
        "",
    ],
)
def test_everything_else_is_refused_with_the_reason(text: str) -> None:
    with pytest.raises(GitError, match=r"cannot be fetched: ."):
        url.parse(text, allow_local=True, allow_http=True)


@pytest.mark.parametrize("text", ["http://example.org/a", "/srv/a", "file:///srv/a"])
def test_plain_http_and_local_paths_are_off_by_default(text: str) -> None:
    with pytest.raises(GitError, match="turn"):
        url.parse(text, allow_local=False, allow_http=False)


@pytest.mark.parametrize(
    "text",
    [
        "https://ada:hunter2@example.org",
        "gopher://ada:hun/ter2@x@host/a",
        "ssh://git:hunter2@h/a",
        "https://h/a?t=hunter2",
    ],
)
def test_a_refusal_shows_no_credentials(text: str) -> None:
    with pytest.raises(GitError) as refused:
        url.parse(text, allow_local=True, allow_http=True)
    assert "hunter2" not in str(refused.value)
    assert "ter2" not in str(refused.value)
