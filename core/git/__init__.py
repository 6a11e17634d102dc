"""Bare repositories: made, fetched into, read and exported. The only user of pygit2.

Reading never touches a working tree: names, sizes and kinds come from the object store, so nothing that a commit holds
is followed or executed here. libgit2 has no helpers and no hooks; the git binary runs through core.git.command.
"""

from core.git.changes import changed_paths, merge_base
from core.git.remotes import MAX_REFS, TOKEN_USER, fetch, fetch_commit, fetch_fork, pinned, remote_refs
from core.git.repository import (
    CommitInfo,
    commit_info,
    has_been,
    init_hosted,
    init_mirror,
    is_ancestor,
    pin,
    read_file,
    refs,
    resolve,
    resolve_beginning,
    set_head_to_first_branch,
)
from core.git.trees import export

__all__ = [
    "MAX_REFS",
    "TOKEN_USER",
    "CommitInfo",
    "changed_paths",
    "commit_info",
    "export",
    "fetch",
    "fetch_commit",
    "fetch_fork",
    "has_been",
    "init_hosted",
    "init_mirror",
    "is_ancestor",
    "merge_base",
    "pin",
    "pinned",
    "read_file",
    "refs",
    "remote_refs",
    "resolve",
    "resolve_beginning",
    "set_head_to_first_branch",
]
