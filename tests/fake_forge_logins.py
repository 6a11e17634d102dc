"""GitHub's OAuth on `fake_forge`: authorize, exchange a code for a token, and return the token's user.

By https://docs.github.com/en/apps/oauth-apps/building-oauth-apps/authorizing-oauth-apps: a code is for one client, one
redirect address and one use, PKCE is checked if it was begun, and errors of the exchange are answered with status 200.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from fake_forge_apis import ForgeState, Recorded

CLIENT = ("pushmill", "client-secret")
PATHS = re.compile(r"/login/oauth/.*|/api/v3/user(/.*)?")
WRONG_CODE = {"error": "bad_verification_code", "error_description": "The code passed is incorrect or expired."}


def answer(forge: ForgeState, call: Recorded) -> tuple[int, Any] | tuple[int, Any, Mapping[str, str]]:
    place = urlsplit(call.path)
    if place.path == "/login/oauth/authorize":
        return (
            302,
            None,
            {"Location": _authorized(forge, {key: found[0] for key, found in parse_qs(place.query).items()})},
        )
    if place.path == "/login/oauth/access_token":
        return 200, _token(forge, call.json)
    person = forge.tokens.get(call.headers.get("authorization", "").removeprefix("Bearer "))
    if person is None:
        return 401, {"message": "Bad credentials"}
    return 200, {
        "/api/v3/user": {"id": person["id"], "login": person["login"], "name": "Anybody", "email": "public@elsewhere.example"},
        "/api/v3/user/emails": person.get("emails", []),
        "/api/v3/user/orgs": [{"login": name} for name in person.get("orgs", ())],
    }[place.path]  # fmt: skip


def _authorized(forge: ForgeState, asked: Mapping[str, str]) -> str:
    """Return where the browser of `forge.browser` goes after the consent page: None denies."""
    back = {"state": asked["state"]}
    if forge.browser is None:
        back |= {"error": "access_denied", "error_description": "The user has denied your application access."}
    else:
        code = f"code-{forge.next_id()}"
        forge.codes[code] = {"person": forge.browser, **asked}
        back["code"] = code
    return f"{asked['redirect_uri']}?{urlencode(back)}"


def _token(forge: ForgeState, form: Mapping[str, str]) -> dict[str, str]:
    if (form["client_id"], form["client_secret"]) != CLIENT:
        return {"error": "incorrect_client_credentials", "error_description": "The client_id is not valid."}
    asked = forge.codes.pop(form["code"], None)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest()).rstrip(b"=").decode()
    if asked is None or asked["client_id"] != form["client_id"] or asked["code_challenge"] != challenge:
        return WRONG_CODE
    if asked["redirect_uri"] != form["redirect_uri"]:
        return {"error": "redirect_uri_mismatch", "error_description": "The redirect_uri MUST match."}
    token = f"gho_{forge.next_id()}"
    forge.tokens[token] = asked["person"]
    return {"access_token": token, "scope": asked["scope"], "token_type": "bearer"}
