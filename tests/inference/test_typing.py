"""A user's script passes pyright in strict mode. `make lint` checks the same script with mypy --strict."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers import user_script

ROOT = Path(__file__).parents[2]


def pyright(folder: Path, source: str) -> list[dict[str, Any]]:
    """What pyright reports about a script, in strict mode."""
    checker = ROOT / "node_modules" / ".bin" / "pyright"
    if not checker.exists():
        pytest.skip("pyright is not installed: run `make lint-js`")
    (folder / "script.py").write_text(source, "utf-8")
    config = {"include": ["script.py"], "typeCheckingMode": "strict", "extraPaths": [str(ROOT / "src")]}
    (folder / "pyrightconfig.json").write_text(json.dumps(config), "utf-8")
    command = [str(checker), "--project", str(folder), "--pythonpath", sys.executable, "--outputjson"]
    report = json.loads(subprocess.run(command, capture_output=True, text=True, timeout=500).stdout)
    assert report["summary"]["filesAnalyzed"] == 1
    diagnostics: list[dict[str, Any]] = report["generalDiagnostics"]
    return diagnostics


def test_user_script_runs(tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    user_script.main(tiny_checkpoint)
    assert "temperature" in capsys.readouterr().out


def test_user_script_passes_pyright_strict(tmp_path: Path) -> None:
    assert pyright(tmp_path, Path(user_script.__file__).read_text("utf-8")) == []


def test_pyright_finds_a_wrong_type(tmp_path: Path) -> None:
    source = 'import inkhorn\n\nnumber: int = inkhorn.generate("a")\nprint(number)\n'
    [report] = pyright(tmp_path, source)
    assert report["rule"] == "reportAssignmentType"
