"""Log in with an account at another server, and link such accounts to one's own user."""

from __future__ import annotations

import hmac
from dataclasses import asdict

from flask import Blueprint, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue

from core.errors import Denied, ForgeError, NotFound, PushmillError
from web.http import auth
from web.http.pages.addresses import choose_local_path, get_base_url
from web.services.logins import accounts, providers
from web.services.logins.providers import Providers
from web.store import audit, logins

blueprint = Blueprint("logins", __name__)

PENDING = "login"  # key in the session of a login that has begun


@blueprint.get("/login/<provider>")
@auth.public
def begin(provider: str) -> ResponseReturnValue:
    """Send the browser to the provider. With `link`, the form token of a session, its user links an account."""
    found, linking = _providers(provider), None
    if given := request.args.get("link"):
        identity = auth.find_session_identity()
        if identity is None or not hmac.compare_digest(given.encode(), auth.csrf_token().encode()):
            raise Denied("The page is out of date: go back, reload it and try again.")
        linking = identity.user.id
    to = choose_local_path(request.args.get("next", "/"))
    try:
        url, attempt = found.begin(provider, redirect_uri=_address(provider), to=to, linking=linking)
    except (ForgeError, KeyError) as error:
        return _refused(_sentence(error))
    session[PENDING] = asdict(attempt)
    return redirect(url, 303)


@blueprint.get("/login/<provider>/callback")
@auth.public
def finish(provider: str) -> ResponseReturnValue:
    """Log in the user who returns from the provider, or link the account. An attempt can be finished once."""
    found, kept = _providers(provider), session.pop(PENDING, None)
    try:
        attempt = providers.load_attempt(kept)
        if attempt.provider != provider:
            raise Denied(providers.OUTDATED)
        person = found.finish(attempt, request.args, redirect_uri=_address(provider))
        config = found.configs[provider]
        if attempt.linking is None:
            user = accounts.log_in(auth.get_db(), config, person)
        else:
            identity = auth.find_session_identity()
            if identity is None or identity.user.id != attempt.linking:
                raise Denied(providers.OUTDATED)
            accounts.link(auth.get_db(), config, person, identity.user)
            return redirect(url_for("account.show", _anchor="h-logins"), 303)
    except (PushmillError, KeyError, TypeError) as error:
        audit.record_failed_login(auth.get_db(), "")
        return _refused(_sentence(error))
    auth.begin_session(user.id)
    return redirect(attempt.next, 303)


@blueprint.post("/auth/logins/remove")
@auth.account
def remove() -> ResponseReturnValue:
    """Remove an account at a provider from the user."""
    form = request.form
    logins.remove(auth.get_db(), auth.get_current_user().id, form.get("issuer", ""), form.get("subject", ""))
    return redirect(url_for("account.show", _anchor="h-logins"), 303)


def _providers(name: str) -> Providers:
    found = auth.get_server().providers
    if name not in found.configs:
        raise NotFound(f"there is no provider of logins {name!r}")
    return found


def _address(provider: str) -> str:
    return get_base_url() + url_for("logins.finish", provider=provider)


def _sentence(error: Exception) -> str:
    if isinstance(error, KeyError | TypeError):
        return "The provider's answer cannot be read."
    text = error.problem if isinstance(error, ForgeError) else str(error)
    return f"{text.rstrip('.')}."


def _refused(problem: str) -> ResponseReturnValue:
    return render_template("login.html", username="", problem=problem), 403
