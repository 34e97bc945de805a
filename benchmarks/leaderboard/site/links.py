"""Addresses to which the site links: the repository, the papers, records and sources at their commits."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from urllib.parse import quote

from benchmarks import registry
from benchmarks.api import UsageError
from benchmarks.claims import hypotheses

Link = tuple[str, str]
"""Words and address; the address is empty where there is none, and the words stand alone."""

_HOSTED = re.compile(r"(?:https?|ssh|git)://(?:[^/@\s]*@)?([\w.-]+)(?::\d+)?/([\w./-]+?)(?:\.git)?/?")
_SHORT = re.compile(r"[\w.-]+@([\w.-]+):([\w./-]+?)(?:\.git)?/?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_PAPER = re.compile(r"arXiv (\d{4}\.\d{4,5})")


def web_address(remote: str) -> str:
    """Return a repository's web address from its remote's, without credentials; empty if unknown."""
    parts = _HOSTED.fullmatch(remote) or _SHORT.fullmatch(remote)
    if parts is None or "." not in parts.group(1) or ".." in parts.group(2):
        return ""
    return f"https://{parts.group(1)}/{parts.group(2)}"


@cache
def repository(folder: Path) -> str:
    """Return the web address of the repository that a folder is in; empty if it has none."""
    command = ["git", "-C", str(folder), "remote", "get-url", "origin"]
    env = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    try:
        answer = subprocess.run(command, env=env, capture_output=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return web_address(answer.stdout.decode("utf-8", "replace").strip())


def of_board(repository: str) -> list[Link]:
    """Return the links of the first page: repository, how to submit, findings, and the papers."""
    base = f"{repository}/blob/HEAD" if repository else "../.."
    links = [("Repository", repository), ("Documentation", "docs/index.html")] if repository else []
    links += [("How to submit", f"{base}/docs/publish.md"), ("Findings", f"{base}/results/FINDINGS.md")]
    for title in hypotheses.papers().values():
        if paper := _PAPER.search(title):
            links.append((f"Paper: {title.split(' (')[0]}", f"https://arxiv.org/abs/{paper.group(1)}"))
    return links


def of_record(repository: str, path: str) -> Link:
    """Return the link to a record.

    Args:
        repository: web address of the board's own, or empty.
        path: of the record in it.
    """
    return path, f"{repository}/blob/HEAD/{quote(path)}" if repository else f"../../{quote(path)}"


def of_code(repository: str, name: str, origin: Mapping[str, object]) -> dict[str, Link]:
    """Return the links of a run to its method's source at its commit, and to the code that ran it.

    Args:
        repository: web address of the board's own, or empty.
        name: of the method.
        origin: the run's provenance, not to be trusted.
    """
    commit = str(origin.get("commit") or "")
    commit = commit if _COMMIT.fullmatch(commit) else ""
    at = f"{repository}/tree/{commit}" if repository and commit else ""
    method = origin.get("method") or {"word": name}
    source: Link = (f"commit {commit[:12]}" if commit else "not stated", at)
    if isinstance(method, Mapping):
        source = _method(method, repository, commit) or source
    return {"method": source, "code": (f"commit {commit[:12] or 'not stated'}", at)}


@cache
def _own_source(method: str) -> str:
    """Return the file of one of this package's methods, from its root; empty for any other method."""
    try:
        module, _, _ = registry.find(method).source.rpartition(":")
    except UsageError:
        return ""
    file = Path(*module.split(".")).with_suffix(".py")
    root = Path(__file__).resolve().parents[3]
    return file.as_posix() if file.parts[0] != "benchmarks" and (root / file).is_file() else ""


def _method(method: Mapping[str, object], repository: str, commit: str) -> Link | None:
    keys = ("word", "package", "version", "url", "path", "repository", "commit")
    text = {key: str(method.get(key) or "") for key in keys}
    path = text["path"] if re.fullmatch(r"[\w./-]+", text["path"]) and ".." not in text["path"] else ""
    if text["url"]:
        return text["url"], text["url"] if re.fullmatch(r"https://[^\s/]+/\S+", text["url"]) else ""
    if path and text["repository"]:
        theirs = web_address(text["repository"])
        known = theirs and _COMMIT.fullmatch(text["commit"])
        return f"{path} in {text['repository']}", f"{theirs}/blob/{text['commit']}/{path}" if known else ""
    own = _own_source(text["word"])
    if not path and own and text["package"] in ("", "supernet-bench"):
        path = own
    if path:
        return path, f"{repository}/blob/{commit}/{path}" if repository and commit else ""
    if text["package"]:
        return f"{text['package']} {text['version']}", ""
    return None
