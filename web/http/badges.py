"""A project's badge, as an SVG image and as JSON for shields.io. Errors are badges too."""

from __future__ import annotations

import hashlib
from email.utils import format_datetime

import orjson
from flask import Blueprint, Response, request

from core import clock
from web.http import auth
from web.services.presentation import badges
from web.services.presentation.badges import Badge, BadgeQuery
from web.services.presentation.formats import to_one_line

blueprint = Blueprint("badges", __name__)

MAX_CHARS = 64
COLOURS = {
    "passing": "#2e7d32", "failing": "#c62828", "running": "#9a6700", "stopped": "#b3470f", "unknown": "#6e7781",
    "metric": "#0b57d0",
}  # fmt: skip
# Advance widths in 1/2048 em of Verdana, the badges' font; other characters count as digits.
EM, FONT_SIZE, PADDING, HEIGHT = 2048, 11, 6, 20
DIGIT, WIDE = 1302, 2048
WIDTHS = {
    720: " f", 562: "il", 705: "j", 874: "r", 807: "t", 930: "-:/([)]J", 745: ".,", 1067: "cs", 1076: "z", 1212: "kvxy",
    1220: "e", 1230: "a", 1243: "o", 1276: "bdgpq", 1296: "hnu", 1676: "w#", 1992: "m", 862: "I", 1140: "L", 1177: "F",
    1235: "P", 1262: "TYZ", 1295: "E", 1400: "ABKRSVX", 1430: "C", 1499: "U", 1535: "HN", 1600: "DGOQ", 1726: "M", 2025: "W",
}  # fmt: skip
ADVANCE = {letter: width for width, letters in WIDTHS.items() for letter in letters}
XML = str.maketrans({
    "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&apos;",
    "\ufffe": "\ufffd", "\uffff": "\ufffd",  # the only characters left that XML does not allow
})  # fmt: skip


@blueprint.get("/badge/<name>.<any(svg, json):form>")
@auth.public
def badge(name: str, form: str) -> Response:
    """Return 200 with an image or the JSON for shields.io, whatever the parameters are; or 304."""
    keys = ("token", "branch", "step", "task", "pipeline", "metric", "label")
    asked = {key: request.args.get(key, "") for key in keys}
    question = BadgeQuery(project=name, event=request.args.get("event") or badges.PUSH, **asked)
    found = badges.make_badge(auth.get_context(), question)
    body = (
        encode_endpoint(found)
        if form == "json"
        else render_svg(found.label, found.message, COLOURS[found.kind]).encode()
    )
    etag = hashlib.sha256(body).hexdigest()[:32]
    response = Response(body, mimetype="application/json" if form == "json" else "image/svg+xml")
    if request.if_none_match.contains_weak(etag):  # a proxy that compresses makes the ETag weak
        response = Response(status=304)
    response.set_etag(etag)
    response.headers["Cache-Control"] = "no-cache, max-age=0"
    response.headers["Content-Security-Policy"] = "default-src 'none'; style-src 'unsafe-inline'"
    if found.changed_at:
        response.headers["Last-Modified"] = format_datetime(clock.parse(found.changed_at), usegmt=True)
    return response


def encode_endpoint(found: Badge) -> bytes:
    """Encode a badge as JSON for shields.io: https://shields.io/badges/endpoint-badge"""
    color = COLOURS[found.kind].removeprefix("#")
    label, message = _clamped(found.label), _clamped(found.message)
    return orjson.dumps({"schemaVersion": 1, "label": label, "message": message, "color": color})


def render_svg(label: str, message: str, colour: str) -> str:
    """Draw a flat badge. Equal arguments give equal bytes, so that ETags match."""
    label, message = _clamped(label), _clamped(message)
    left, right = _width(label), _width(message)
    title = f"{label}: {message}".translate(XML)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="{HEIGHT}" role="img" aria-label="{title}">'
        f"<title>{title}</title>"
        f'<clipPath id="r"><rect width="{left + right}" height="{HEIGHT}" rx="3"/></clipPath>'
        f'<g clip-path="url(#r)"><rect width="{left}" height="{HEIGHT}" fill="#444c56"/>'
        f'<rect x="{left}" width="{right}" height="{HEIGHT}" fill="{colour}"/></g>'
        f'<g fill="#fff" font-family="Verdana,Geneva,DejaVu Sans,sans-serif" font-size="{FONT_SIZE}">'
        f"{_text(label, 0, left)}{_text(message, left, right)}</g></svg>"
    )


def _clamped(text: str) -> str:
    text = to_one_line(text.encode(errors="replace").decode())
    return text if len(text) <= MAX_CHARS else f"{text[: MAX_CHARS - 1]}…"


def _width(text: str) -> int:
    """Return the width of one half of the badge, in pixels."""
    return round(_advance(text)) + 2 * PADDING


def _advance(text: str) -> float:
    units = sum(ADVANCE.get(letter, WIDE if ord(letter) > 0x2E80 else DIGIT) for letter in text)
    return units * FONT_SIZE / EM


def _text(text: str, left: int, width: int) -> str:
    """Draw text and its shadow; `textLength` forces the measured width, whatever font the viewer has."""
    place = f'x="{left + PADDING}" textLength="{width - 2 * PADDING}"'
    text = text.translate(XML)
    shadow = f'<text {place} y="15" fill="#010101" fill-opacity=".3" aria-hidden="true">{text}</text>'
    return f'{shadow}<text {place} y="14">{text}</text>'
