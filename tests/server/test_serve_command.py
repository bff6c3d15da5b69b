"""`inkhorn serve`: flags and environment to the configuration of the server."""

import re
import sys
from pathlib import Path

import pytest
from helpers.paths import ROOT

from inkhorn.checkpoint.resolve import ASSETS, SHIPPED
from inkhorn.cli import serve
from inkhorn.cli.main import main
from inkhorn.errors import UsageError
from inkhorn.server.model_registry import ModelRegistry
from inkhorn.server.ray_serve.options import RayOptions, parse_options
from inkhorn.server.ray_serve.run import serve_on_ray
from inkhorn.server.settings import Limits, ServerConfig


@pytest.fixture
def configs(monkeypatch: pytest.MonkeyPatch) -> list[ServerConfig]:
    """The configurations that the command would serve."""
    found: list[ServerConfig] = []
    monkeypatch.delenv(serve.API_KEY_VARIABLE, raising=False)

    def serve_config(config: ServerConfig) -> int:
        found.append(config)
        return 0

    monkeypatch.setattr("inkhorn.server.run.serve", serve_config)
    return found


def test_defaults(configs: list[ServerConfig], capsys: pytest.CaptureFixture[str]) -> None:
    assert serve.run([]) == 0
    assert configs == [ServerConfig(models=(), models_dir=ASSETS, pin=("shakespeare",))]
    assert capsys.readouterr().err == ""
    registry = ModelRegistry.load(configs[0])
    try:
        assert set(registry.names) == set(SHIPPED)
        assert [model.id for model in registry.loaded()] == [registry.default.id] == ["shakespeare"]
    finally:
        registry.close()


def test_flags(configs: list[ServerConfig]) -> None:
    flags = "-m one --model two --port 0 --quantize fp32 --threads 2 --max-num-seqs 8 --shutdown-timeout 5 --no-web-ui"
    flags += " --cors-origin https://example.org --on-unknown error --log-prompts --max-queued 3 --rate-limit 9"
    serve.run(flags.split())
    assert configs == [
        ServerConfig(
            models=("one", "two"),
            port=0,
            precision="fp32",
            threads=2,
            max_num_seqs=8,
            shutdown_timeout=5,
            limits=Limits(max_queued=3, rate_limit=9),
            cors_origins=("https://example.org",),
            on_unknown="error",
            log_prompts=True,
            web_ui=False,
        )
    ]


def test_api_key_sources(configs: list[ServerConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(serve.API_KEY_VARIABLE, "second, third")
    file = tmp_path / "keys"
    file.write_text("fourth\n\n fifth \n")
    serve.run(["--api-key", "first", "--api-key-file", str(file)])
    assert configs[0].api_keys == ("first", "second", "third", "fourth", "fifth")
    file.write_text("\n")
    with pytest.raises(UsageError, match="contains no API key"):
        serve.run(["--api-key-file", str(file)])


def test_warns_when_open_to_the_network(configs: list[ServerConfig], capsys: pytest.CaptureFixture[str]) -> None:
    serve.run(["--host", "0.0.0.0"])
    assert "without an API key" in capsys.readouterr().err
    serve.run(["--host", "0.0.0.0", "--api-key", "key"])
    assert capsys.readouterr().err == ""
    assert len(configs) == 2


@pytest.mark.parametrize("flag", ["--max-num-seqs", "--max-queued", "--max-seconds", "--rate-limit"])
def test_out_of_range_flags(configs: list[ServerConfig], flag: str) -> None:
    error = f"^{flag} must be (at least|between|greater than).*, not 0.* \\(see inkhorn serve --help\\)$"
    with pytest.raises(UsageError, match=error):
        serve.run([flag, "0"])
    assert configs == []


def test_documented_flags_exist(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        serve.run(["--help"])
    help_text = capsys.readouterr().out
    table = re.findall(r"^\| `(--[a-z-]+)` \|", (ROOT / "docs/serving.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(table) == 10
    assert [flag for flag in table if flag not in help_text] == []


def test_models_by_position_and_port(configs: list[ServerConfig], monkeypatch: pytest.MonkeyPatch) -> None:
    serve.run(["one", "two", "-m", "three", "-p", "9000"])
    assert configs[-1] == ServerConfig(models=("one", "two", "three"), port=9000)
    monkeypatch.setenv(serve.PORT_VARIABLE, "9001")
    serve.run(["--served-model-name", "a"])
    assert configs[-1] == ServerConfig(port=9001, served_model_names=("a",))
    serve.run(["--port", "9002"])
    assert configs[-1].port == 9002
    monkeypatch.setenv(serve.PORT_VARIABLE, "http")
    with pytest.raises(UsageError, match=r"INKHORN_PORT must be a port"):
        serve.run([])


def test_models_dir_serves_no_other_model(configs: list[ServerConfig]) -> None:
    serve.run(["--models-dir", "zoo", "--models-memory", "500", "--pin", "a", "--pin", "b"])
    assert configs == [ServerConfig(models=(), models_dir=Path("zoo"), models_memory=500, pin=("a", "b"))]
    serve.run(["shakespeare", "--models-dir", "zoo"])
    assert configs[-1].models == ("shakespeare",)


def test_ray_flags(monkeypatch: pytest.MonkeyPatch, configs: list[ServerConfig]) -> None:
    found: list[tuple[ServerConfig, RayOptions]] = []

    def serve_on(config: ServerConfig, options: RayOptions) -> int:
        found.append((config, options))
        return 0

    monkeypatch.setattr("inkhorn.server.ray_serve.run.serve_on_ray", serve_on)
    assert serve.run(["--ray", "--max-replicas", "3", "--isa", "avx2", "-p", "80"]) == 0
    assert found == [(ServerConfig(port=80), RayOptions(max_replicas=3, isa="avx2"))]
    with pytest.raises(UsageError, match="--max-replicas is for replicas on a Ray cluster: add --ray"):
        serve.run(["--max-replicas", "3"])
    with pytest.raises(UsageError, match=r"min_replicas \(5\) must not exceed max_replicas \(4\)"):
        serve.run(["--ray", "--min-replicas", "5"])
    assert configs == []


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["serve", "--ray"]) == 1
    assert re.fullmatch(r"inkhorn: this command needs ray: .*\[ray\]'\n", capsys.readouterr().err)


def test_what_cannot_be_combined_with_ray() -> None:
    with pytest.raises(UsageError, match="--port 0 cannot be combined with --ray"):
        serve_on_ray(ServerConfig(port=0), RayOptions())


def test_arguments_of_a_serve_config_file() -> None:
    config, options = parse_options({"models": ["a", "b"], "limits": {"max_queued": 5}, "max_replicas": 2})
    assert config == ServerConfig(models=("a", "b"), limits=Limits(max_queued=5))
    assert options == RayOptions(max_replicas=2)
    for args, message in (
        ({"max_replica": 2}, "unknown argument max_replica: did you mean 'max_replicas'"),
        ({"limits": {"max_queue": 2}}, "unknown argument limits.max_queue: did you mean 'max_queued'"),
        ({"limits": 5}, "limits must be a mapping"),
        ({"port": "x"}, "port must be an integer"),
    ):
        with pytest.raises(UsageError, match=message):
            parse_options(args)
