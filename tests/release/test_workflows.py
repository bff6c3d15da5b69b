"""The workflows and the files that the platform reads: pinned actions, few permissions, current versions."""

import re
from datetime import date
from typing import Any

import notes
import pytest
import yaml
from helpers.paths import ROOT

FOLDER = ROOT / ".github" / "workflows"
WORKFLOWS = sorted(path.name for path in FOLDER.glob("*.yml"))
PINNED = re.compile(r"uses: [\w./-]+@[0-9a-f]{40} # v\d+(\.\d+)*$")
UNPINNED = {"pypa/gh-action-pypi-publish@v1.14.2"}
"""Actions by version, because no hash of that version could be checked when they were added."""

WRITE_PERMISSIONS = {
    ("release.yml", "attest"): {"id-token", "attestations"},
    ("release.yml", "publish"): {"id-token"},
    ("release.yml", "github-release"): {"contents"},
    ("docs.yml", "publish"): {"contents"},
}
"""The jobs that may change something outside their machine, and what."""


def load(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize("name", WORKFLOWS)
def test_actions_are_pinned_to_a_commit(name: str) -> None:
    lines = [line.strip().removeprefix("- ") for line in (FOLDER / name).read_text(encoding="utf-8").splitlines()]
    used = [line for line in lines if line.startswith("uses:")]
    assert used
    for line in used:
        action = line.removeprefix("uses: ").split()[0]
        assert PINNED.fullmatch(line) or action in UNPINNED, line


def test_one_version_of_each_action() -> None:
    versions: dict[str, set[str]] = {}
    for name in WORKFLOWS:
        for action, version in re.findall(r"uses: ([\w./-]+)@(\S+)", (FOLDER / name).read_text(encoding="utf-8")):
            versions.setdefault(action, set()).add(version)
    assert {action: found for action, found in versions.items() if len(found) > 1} == {}


@pytest.mark.parametrize("name", WORKFLOWS)
def test_each_job_has_few_permissions_and_a_time_limit(name: str) -> None:
    workflow = load(name)
    assert workflow["permissions"] == {}, "jobs name their own permissions"
    for job, settings in workflow["jobs"].items():
        permissions = settings["permissions"]
        assert isinstance(permissions, dict), job
        writes = {scope for scope, access in permissions.items() if access != "read"}
        assert writes == WRITE_PERMISSIONS.get((name, job), set()), job
        assert 0 < settings["timeout-minutes"] <= 180, job


@pytest.mark.parametrize("name", WORKFLOWS)
def test_no_step_keeps_credentials_or_inserts_text_of_others(name: str) -> None:
    for job, settings in load(name)["jobs"].items():
        for step in settings["steps"]:
            if str(step.get("uses", "")).startswith("actions/checkout@"):
                keeps = step["with"].get("persist-credentials", True)
                assert not keeps or (name, job) == ("docs.yml", "publish"), job  # that job pushes a branch
            assert "${{" not in step.get("run", ""), f"{job}: pass it in env, where the shell does not run it"


def test_only_a_tag_publishes() -> None:
    jobs = load("release.yml")["jobs"]
    for job in ("publish", "github-release"):
        assert jobs[job]["if"] == "github.ref_type == 'tag'"
    assert jobs["publish"]["environment"] == "pypi"
    assert jobs["publish"]["needs"] == ["attest"]
    assert jobs["attest"]["needs"] == ["wheels", "sdist"]


def test_dependabot_covers_every_kind_of_dependency() -> None:
    settings = yaml.safe_load((ROOT / ".github" / "dependabot.yml").read_text(encoding="utf-8"))
    kinds = {update["package-ecosystem"] for update in settings["updates"]}
    assert {"github-actions", "pip", "npm", "docker"} <= kinds
    for update in settings["updates"]:
        for folder in update.get("directories") or [update["directory"]]:
            assert (ROOT / folder.lstrip("/")).is_dir(), folder


def test_citation_is_of_the_current_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= citation.keys()
    assert citation["version"] == notes.version()


def test_changelog_has_the_form_of_keep_a_changelog() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    dates = []
    for heading in headings:
        found = re.fullmatch(r"\[(Unreleased|\d+\.\d+\.\d+)\](?: - (\d{4}-\d\d-\d\d))?", heading)
        assert found is not None, heading
        assert (found[1] == "Unreleased") == (found[2] is None), heading
        dates += [date.fromisoformat(found[2])] if found[2] else []
    assert dates == sorted(dates, reverse=True)
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security", "Unverified"}
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        found_kinds = re.findall(r"^### (.*)$", section, re.MULTILINE)
        assert set(found_kinds) <= kinds, section.splitlines()[0]
        assert len(set(found_kinds)) == len(found_kinds), section.splitlines()[0]


def test_the_current_version_has_notes_that_name_what_was_not_verified() -> None:
    text = notes.notes((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), notes.version())
    assert "### Unverified" in text
    runners = load("release.yml")["jobs"]["wheels"]["strategy"]["matrix"]["os"]
    unverified = text.split("### Unverified")[1]
    assert all(f"`{runner}`" in unverified for runner in runners)
