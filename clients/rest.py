"""Asks over REST once, and returns any status: for self-tests and tests. imagetrust.client is for everything else."""

import requests


def ask(
    address: str, endpoint: str, picture: bytes, token: str, timeout: float = 60, options: dict[str, str] | None = None
) -> tuple[int, dict]:
    """Send an image's bytes to an endpoint and return the HTTP status and the JSON answer.

    address: such as "http://127.0.0.1:8080". options: such as {"detail": "verdicts"}.
    Raises requests.RequestException where no answer comes.
    """
    answer = requests.post(
        f"{address}/predictions/{endpoint}",
        data=picture,
        # What the file really is, the server finds out itself.
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/octet-stream"}
        | {f"ImageTrust-{name}": value for name, value in (options or {}).items()},
        timeout=timeout,
    )
    return answer.status_code, answer.json()
