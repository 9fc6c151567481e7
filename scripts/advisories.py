"""Compare what is pinned with the published advisories: `scripts/advisories.py FILE…`.

Exit status 1 for a vulnerability that a newer version mends, unless `requirements/advisories-ignored.txt`
names it with a day that has not come yet. What cannot be asked, because the network or the index does not
tell, is said and fails nothing: `pip-audit` itself would call it clean.
"""

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

IGNORED = Path(__file__).parents[1] / "requirements" / "advisories-ignored.txt"

_TIMEOUT_S = 60.0


def main(files: list[str]) -> int:
    """Ask about the packages of each file, and print what is found."""
    ignored = ignored_advisories(IGNORED.read_text(encoding="utf-8"), today=datetime.now(UTC).date())
    reports = [_asked(file) for file in files]
    lines, failed = verdict((each for report in reports for each in report), ignored)
    print("\n".join(lines))
    return int(failed)


def verdict(dependencies: Iterable[Mapping[str, Any]], ignored: frozenset[str]) -> tuple[list[str], bool]:
    """Return what to print of pip-audit's dependencies, and whether one of them has to be replaced."""
    found = {(each["name"], each.get("version")): each for each in dependencies}.values()
    unknown = [each["name"] for each in found if "vulns" not in each]
    lines, failed = [], False
    for each in found:
        for advisory in each.get("vulns", ()):
            names = {advisory["id"], *advisory.get("aliases", ())}
            mended_in = ", ".join(advisory["fix_versions"])
            waived = bool(names & ignored)
            failed |= bool(mended_in) and not waived
            state = "ignored" if waived else f"mended in {mended_in}" if mended_in else "not mended yet"
            lines.append(f"{each['name']} {each['version']}: {advisory['id']}, {state}")
    if unknown or not found:
        lines.append(f"advisories: none to be had for {len(unknown)} of {len(found)} packages: NOT audited")
    else:
        lines.append(f"advisories: {len(found)} packages audited")
    return lines, failed


def ignored_advisories(text: str, *, today: date) -> frozenset[str]:
    """Return the ids in lines of ``ID YYYY-MM-DD reason`` whose day has not come."""
    lines = (
        line.split(maxsplit=2) for line in text.splitlines() if line.strip() and not line.startswith("#")
    )
    return frozenset(advisory for advisory, until, _reason in lines if today < date.fromisoformat(until))


def _asked(file: str) -> list[dict[str, Any]]:
    command = ["-m", "pip_audit", "--requirement", file, "--require-hashes", "--disable-pip"]
    command += ["--format", "json", "--progress-spinner", "off"]
    try:
        asked = subprocess.run(
            [sys.executable, *command], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
        return list(json.loads(asked.stdout)["dependencies"])
    except (subprocess.TimeoutExpired, ValueError, KeyError):
        print(f"advisories: no answer for {file}", file=sys.stderr)
        return []


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
