"""The rules by which containers cannot reach link-local addresses; they need root and iptables, and tell only the log without."""

from __future__ import annotations

import logging
import re
import subprocess
from pathlib import Path

log = logging.getLogger(__name__)

CHAIN = "DOCKER-USER"  # Docker leaves what is in it alone
LINK_LOCAL = "169.254.0.0/16"  # RFC 3927; clouds answer with credentials there
OURS = re.compile(rf"-A {CHAIN} -d {re.escape(LINK_LOCAL)} -i (br-[0-9a-f]{{12}}) -j DROP")  # as iptables prints it
INTERFACES = Path("/sys/class/net")


def block_link_local(network_id: str) -> None:
    """Drop what comes from the network of this Docker id and is for a link-local address. Idempotent."""
    rule = _rule(f"br-{network_id[:12]}")
    try:
        if _iptables("-C", *rule).returncode:
            _iptables("-I", *rule).check_returncode()
    except (OSError, subprocess.CalledProcessError) as error:
        log.debug("link-local addresses stay reachable from containers: %s", error)


def forget_removed_bridges() -> int:
    """Remove the rules of networks that are gone; returns how many. Rules of any other shape stay."""
    try:
        rules = _iptables("-S").stdout.decode(errors="replace").splitlines()
    except OSError:
        return 0
    gone = [found[1] for rule in rules if (found := OURS.fullmatch(rule)) and not (INTERFACES / found[1]).exists()]
    return sum(_iptables("-D", *_rule(bridge)).returncode == 0 for bridge in gone)


def _rule(bridge: str) -> list[str]:
    return ["-i", bridge, "-d", LINK_LOCAL, "-j", "DROP"]


def _iptables(action: str, *rule: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["iptables", "-w", action, CHAIN, *rule], capture_output=True, check=False)
