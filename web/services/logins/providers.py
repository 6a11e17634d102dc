"""Login providers: start a login there, and verify the person who returns.

Authorization code flow with state, nonce and PKCE (RFC 6749, RFC 7636, OpenID Connect Core 1.0). Somebody is known by
issuer and subject alone: names and e-mail addresses can be taken over.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from core.errors import Denied, ForgeError
from core.login_config import GITHUB, LoginConfig
from hooks.apis.base import get_text, has_value, list_objects
from web.services.logins.http import call

if TYPE_CHECKING:
    from joserfc.jwk import KeySet  # loaded with the first login: many servers have no providers

PENDING_S = 600.0  # longest time between leaving for the provider and coming back
KEPT_S = 3600.0  # metadata and keys of a provider
LEEWAY_S = 60  # tolerated difference of the clocks
ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
OUTDATED = "This login was started in another window, or too long ago: start again."


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """A login that has begun, kept in the browser's session. `linking` is the id of a user who links an account."""

    provider: str
    state: str
    nonce: str
    verifier: str
    began_at: float
    next: str = "/"
    linking: int | None = None


@dataclass(frozen=True, kw_only=True)
class Person:
    """A person as verified by a provider. `email` is "" unless the provider has verified it."""

    issuer: str
    subject: str
    name: str
    email: str
    groups: tuple[str, ...]


class Providers:
    """The configured providers by name. Metadata and keys are fetched when needed, and kept for an hour."""

    def __init__(self, configs: Mapping[str, LoginConfig]) -> None:
        self.configs = configs
        self._kept: dict[str, tuple[float, Any]] = {}
        self._lock = threading.Lock()

    def begin(self, name: str, *, redirect_uri: str, to: str, linking: int | None = None) -> tuple[str, Attempt]:
        """Return the URL to send a browser to, and the attempt. Raises ForgeError."""
        from authlib.oauth2.rfc7636 import create_s256_code_challenge  # type: ignore[import-untyped]

        config = self.configs[name]
        attempt = Attempt(
            provider=name,
            state=secrets.token_urlsafe(24),
            nonce=secrets.token_urlsafe(24),
            verifier=secrets.token_urlsafe(48),
            began_at=time.time(),
            next=to,
            linking=linking,
        )
        query = {
            "response_type": "code",
            "client_id": config.client_id,
            "redirect_uri": redirect_uri,
            "state": attempt.state,
            "code_challenge": create_s256_code_challenge(attempt.verifier),
            "code_challenge_method": "S256",
        }
        if config.kind == "github":
            return f"{config.site}/login/oauth/authorize?{urlencode(query | {'scope': _scope(config)})}", attempt
        query |= {"scope": _scope(config), "nonce": attempt.nonce}
        endpoint = self._metadata(config)["authorization_endpoint"]
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(query)}", attempt

    def finish(self, attempt: Attempt, answer: Mapping[str, str], *, redirect_uri: str) -> Person:
        """Return the person who returned. Raises Denied with a sentence for people, and ForgeError."""
        if not secrets.compare_digest(answer.get("state", "").encode(), attempt.state.encode()):
            raise Denied(OUTDATED)
        if time.time() - attempt.began_at > PENDING_S:
            raise Denied(OUTDATED)
        if error := answer.get("error"):
            raise Denied(f"The provider refused: {(answer.get('error_description') or error)[:200]}")
        config = self.configs[attempt.provider]
        form = {
            "grant_type": "authorization_code",
            "code": answer.get("code", ""),
            "redirect_uri": redirect_uri,
            "client_id": config.client_id,
            "client_secret": config.client_secret,
            "code_verifier": attempt.verifier,
        }
        if config.kind == "github":
            return _from_github(config, call("POST", f"{config.site}/login/oauth/access_token", form=form))
        metadata = self._metadata(config)
        tokens = call("POST", metadata["token_endpoint"], form=form)
        claims = self._claims(config, tokens.get("id_token"), attempt.nonce)
        if "userinfo_endpoint" in metadata and tokens.get("access_token"):
            headers = {"Authorization": f"Bearer {tokens['access_token']}"}
            more = call("GET", metadata["userinfo_endpoint"], headers=headers)
            if more.get("sub") == claims["sub"]:
                claims = more | claims
        return Person(
            issuer=config.site,
            subject=claims["sub"],
            name=str(claims.get("preferred_username") or claims.get("nickname") or claims.get("email") or ""),
            email=str(claims.get("email") or "") if claims.get("email_verified") is True else "",
            groups=_texts(claims.get("groups")),
        )

    def _claims(self, config: LoginConfig, token: Any, nonce: str) -> dict[str, Any]:
        """Return the claims of a valid ID token. Raises Denied."""
        from joserfc import jwt
        from joserfc.errors import JoseError

        if not isinstance(token, str):
            raise Denied("The provider sent no ID token: is `openid` allowed for this client?")
        try:
            claims = jwt.decode(token, self._keys(config), algorithms=ALGORITHMS).claims
        except (JoseError, ValueError):
            try:
                claims = jwt.decode(token, self._keys(config, fresh=True), algorithms=ALGORITHMS).claims
            except (JoseError, ValueError):
                raise Denied("The signature of the provider's ID token is not valid.") from None
        if problem := find_claim_problem(claims, config, nonce, time.time()):
            raise Denied(f"The provider's ID token is not valid: {problem}.")
        return claims

    def _metadata(self, config: LoginConfig) -> dict[str, Any]:
        url = f"{config.issuer.rstrip('/')}/.well-known/openid-configuration"
        found: dict[str, Any] = self._fetched(url)
        if str(found.get("issuer", "")).rstrip("/") != config.issuer.rstrip("/"):
            raise ForgeError(f"{url} is that of the issuer {str(found.get('issuer'))[:200]!r}", "correct `issuer`")
        return found

    def _keys(self, config: LoginConfig, *, fresh: bool = False) -> KeySet:
        from joserfc.jwk import KeySet

        found = self._fetched(self._metadata(config)["jwks_uri"], fresh=fresh)
        return KeySet.import_key_set(found)

    def _fetched(self, url: str, *, fresh: bool = False) -> Any:
        with self._lock:
            at, found = self._kept.get(url, (0.0, None))
        if found is None or fresh or time.monotonic() - at > KEPT_S:
            found = call("GET", url)
            with self._lock:
                self._kept[url] = (time.monotonic(), found)
        return found


def find_claim_problem(claims: Mapping[str, Any], config: LoginConfig, nonce: str, now: float) -> str:
    """Return why the claims of an ID token cannot be accepted, or "" (OpenID Connect Core 1.0, 3.1.3.7)."""
    audience = [claims["aud"]] if isinstance(claims.get("aud"), str) else claims.get("aud") or []
    expires, subject = claims.get("exp"), claims.get("sub")
    if str(claims.get("iss", "")).rstrip("/") != config.issuer.rstrip("/"):
        return "it is from another issuer"
    if config.client_id not in audience or claims.get("azp", config.client_id) != config.client_id:
        return "it is for another client"
    if not isinstance(expires, int | float) or expires < now - LEEWAY_S:
        return "it has expired"
    if claims.get("nonce") != nonce:
        return "it is for another login"
    return "" if isinstance(subject, str) and subject else "it has no subject"


def load_attempt(found: Any) -> Attempt:
    """Return the attempt of a session. Raises Denied if there is none."""
    if not isinstance(found, dict):
        raise Denied(OUTDATED)
    return Attempt(**found)


def _scope(config: LoginConfig) -> str:
    own = ("read:user", "user:email", "read:org") if config.kind == "github" else ("openid", "profile", "email")
    return " ".join([*own, *config.scopes])


def _from_github(config: LoginConfig, tokens: Mapping[str, Any]) -> Person:
    """Ask GitHub's API who the token belongs to: GitHub has no ID tokens."""
    if not tokens.get("access_token"):
        raise Denied(f"GitHub refused: {str(tokens.get('error_description') or tokens.get('error'))[:200]}")
    site = config.site
    api = "https://api.github.com" if site == GITHUB else f"{site}/api/v3"
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    user = call("GET", f"{api}/user", headers=headers)
    emails = call("GET", f"{api}/user/emails", headers=headers, kind=list) if config.domains else []
    organisations = call("GET", f"{api}/user/orgs", headers=headers, kind=list) if config.groups else []
    if not get_text(user, "id"):
        raise Denied("GitHub does not say who this is.")
    own = [
        get_text(mail, "email")
        for mail in list_objects(emails)
        if has_value(mail, "primary", True) and has_value(mail, "verified", True)
    ]
    return Person(
        issuer=site,
        subject=get_text(user, "id"),
        name=get_text(user, "login"),
        email=own[0] if own else "",
        groups=tuple(get_text(found, "login") for found in list_objects(organisations)),
    )


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, Sequence) and not isinstance(value, str) else ()
