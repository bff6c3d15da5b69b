"""Whether something answers at RAY_ADDRESS. Ray itself tries for minutes, without a message."""

import os
import socket

from inkhorn.errors import InkhornError

SECONDS = 10.0
"""How long the address may take to answer."""


def check_ray_address() -> None:
    """Connect to the address that RAY_ADDRESS names, if it names one.

    Raises:
        InkhornError: it is no address, or nothing answers there.
    """
    address = os.environ.get("RAY_ADDRESS", "")
    if address in ("", "auto", "local"):
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdecimal() and 0 < int(port) < 65536):
        raise InkhornError(f"RAY_ADDRESS={address} is no address: give HOST:PORT, ray://HOST:PORT, auto or local")
    try:
        socket.create_connection((host.strip("[]"), int(port)), SECONDS).close()
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        raise InkhornError(
            f"no Ray cluster answers at RAY_ADDRESS={address}: {reason}; "
            "start one with `ray start --head`, or unset RAY_ADDRESS to use this machine"
        ) from None
