"""Deliveries of our own post-receive hook, installed here or on another host. The body is lines of UTF-8:

pushmill-push 2
id <unique>
base <URL of the pages as the pusher knows it>     at most once
pusher <name>                                      at most once
option <push option as typed>                      any number
ref <old> <new> <full ref>                         one or more

In values a line feed is written `\\n` and a backslash `\\\\`. Version 1, of hooks installed earlier, escapes nothing:
a push option that contains a line feed can add lines. So the server checks every ref against the repository.

The id is random and signed, so moving a branch from A to B twice is two pushes. A forge's delivery id is not: its
body can be sent again by anyone who saw it, so pushes of forges are recognised by (ref, before, after).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping

from core.errors import InvalidDelivery
from core.model import PushEvent
from hooks.forges.base import Forge
from hooks.forges.payload import Headers, Ignored, check_push

FIRST_LINE = "pushmill-push 2"
UNESCAPED = "pushmill-push 1"  # the first line of hooks that escape nothing
ESCAPE = re.compile(r"\\(.)")
ID = re.compile(r"[A-Za-z0-9_.-]{8,200}")
BASE_URL = re.compile(r"https?://[A-Za-z0-9._:\[\]-]+(?:/[A-Za-z0-9._~/-]*)?")
MAX_REFS = 10_000


class Plain(Forge):
    PUSHER_READS_ANSWER = True
    SIGNATURE = "x-pushmill-signature-256"
    KEPT_HEADERS = frozenset({SIGNATURE})
    NEW_WEBHOOK = WEBHOOKS = ""
    DEPLOY_KEYS = CHANGES = COMMITS = ""

    def event(self, headers: Headers) -> str:  # noqa: ARG002
        return "push"

    def delivery_id(self, headers: Headers, body: bytes) -> str:  # noqa: ARG002
        return _values(body)["id"][0]

    def full_name(self, headers: Headers, body: bytes) -> str | None:  # noqa: ARG002
        """The hook does not name a repository: its secret belongs to only one."""
        return None

    def parse(self, headers: Headers, body: bytes) -> list[PushEvent] | Ignored:  # noqa: ARG002
        """Return events whose identity is the delivery's id and the ref.

        Moving a branch forth and back is therefore two pushes.
        """
        values = _values(body)
        (delivery,), pusher, options = values["id"], "".join(values["pusher"][:1]), tuple(values["option"])
        if len(values["ref"]) > MAX_REFS:
            raise InvalidDelivery(f"{len(values['ref']):,} refs in one push; at most {MAX_REFS:,} are allowed")
        events = []
        for line in values["ref"]:
            old, _, rest = line.partition(" ")
            new, _, ref = rest.partition(" ")
            identity = f"{delivery} {ref}"
            events.append(
                check_push(PushEvent(ref=ref, before=old, after=new, identity=identity, pusher=pusher, options=options))
            )
        return events or Ignored("no ref has changed")

    def serves(self, host: str) -> bool:  # noqa: ARG002
        """A person installs the hook, on any host."""
        return False


def find_base_url(body: bytes) -> str | None:
    """Return the URL of the pages as the pusher knows it, if the hook sent it."""
    found = _values(body)["base"]
    return found[0].rstrip("/") if found and BASE_URL.fullmatch(found[0]) else None


def _values(body: bytes) -> Mapping[str, list[str]]:
    """Return the values of each key, among them one valid id. Only a line feed ends a line."""
    first, *lines = body.decode("utf-8", "replace").split("\n")
    if first not in (FIRST_LINE, UNESCAPED):
        raise InvalidDelivery(f"the first line must be {FIRST_LINE!r}, got {first[:80]!r}")
    values = defaultdict[str, list[str]](list)
    for key, _, value in (line.partition(" ") for line in lines):
        values[key].append(value if first == UNESCAPED else ESCAPE.sub(_unescaped, value))
    if len(values["id"]) != 1 or not ID.fullmatch(values["id"][0]):
        raise InvalidDelivery("the push must have one id of 8 to 200 letters, digits, '_', '.' and '-'")
    return values


def _unescaped(escape: re.Match[str]) -> str:
    return "\n" if escape[1] == "n" else escape[1]
