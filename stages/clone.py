"""Check the clone before anything is installed: `python3 stages/clone.py` needs Python and git alone.

It prints a line for each fault with which DVC fails later, or silently loses results
(docs/troubleshooting.md). A fault that stops all stages exits with status 1; the others are warnings.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

CODE = ("snrvae", "stages", "dvc.yaml", "params.yaml", "requirements.lock")
HISTORY = "experiments with --temp or --queue lose their results"


def fault() -> str | None:
    """The fault that keeps DVC from running at all; None if there is none."""
    try:
        found = _git("rev-parse", "--git-dir")
    except OSError:
        return "git is not installed, and DVC works on git repositories only"
    if not found.returncode:
        return None
    said = " ".join(found.stderr.split())
    if "not a git repository" not in said:
        return said.replace("fatal: ", "")  # another owner, with git's own remedy
    return (
        "no git repository (a ZIP download?): git clone it, or git init && git add -A && git commit -m start"
    )


def warnings(folder: Path) -> Iterator[str]:
    """Faults with which experiments will fail, each with its remedy."""
    if _says("rev-parse", "--is-shallow-repository") == "true":
        yield f"the clone is shallow: {HISTORY}: git fetch --unshallow"
    if _says("config", "--get-regexp", r"^remote\..*\.promisor$") and _missing():
        yield "the clone is partial: dvc metrics diff hangs: git fetch --refetch --no-filter"
    if odd := sorted(set(re.findall(r"[^ -~]|[#%?]", str(folder)))):
        yield f"{' '.join(odd)} in the path {folder}: {HISTORY}: move the clone"
    if _git("-c", "user.useConfigOnly=true", "var", "GIT_COMMITTER_IDENT").returncode:
        yield "git does not know you: experiments on changes fail: git config user.name and user.email"
    if not _says("rev-parse", "--verify", "--quiet", "HEAD"):
        yield "no commit yet: experiments start from one: git add -A && git commit -m start"
    elif left := _says("ls-files", "--others", "--exclude-standard", "--", *CODE).splitlines():
        yield f"not tracked by git, so missing with --temp and --queue: git add {' '.join(left)}"


def _missing() -> bool:
    """Whether an object that a commit refers to is missing."""
    return "\n?" in _says("rev-list", "--objects", "--all", "--missing=print")


def _says(*arguments: str) -> str:
    return _git(*arguments).stdout.strip()


def _git(*arguments: str) -> subprocess.CompletedProcess[str]:
    english = os.environ | {"LC_ALL": "C"}
    command = ["git", *arguments]
    return subprocess.run(command, env=english, capture_output=True, text=True, errors="replace", check=False)


if __name__ == "__main__":
    if stop := fault():
        sys.exit(f"clone: {stop}")
    for warning in warnings(Path.cwd()):
        print(f"warning: {warning}", file=sys.stderr)
