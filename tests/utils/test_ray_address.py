"""The check of RAY_ADDRESS."""

import socket

import pytest

from inkhorn.errors import InkhornError
from inkhorn.utils.ray_address import check_ray_address


@pytest.mark.parametrize("address", ["", "auto", "local"])
def test_no_address_to_check(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    check_ray_address()
    monkeypatch.delenv("RAY_ADDRESS")
    check_ray_address()


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "ray://127.0.0.1:{}"])
def test_answering_and_dead_address(monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("RAY_ADDRESS", form.format(server.getsockname()[1]))
        check_ray_address()
    with pytest.raises(InkhornError, match=r"no Ray cluster answers at RAY_ADDRESS=.*refused; start one"):
        check_ray_address()


@pytest.mark.parametrize("address", ["somewhere", ":6379", "host:", "host:port", "host:0", "host:99999", "ray://"])
def test_no_address(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(InkhornError, match=r"is no address: give HOST:PORT"):
        check_ray_address()
