"""The gate's configuration: deploy/nginx/gate.toml and the callers' tokens to what nginx reads."""

import grp
import hashlib
import json
import os
import pwd
import re
import resource
import stat
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from server.instance import ServerError
from server.settings import ROOT

DEPLOY = ROOT / "deploy" / "nginx"
SETTINGS = DEPLOY / "gate.toml"
OPTIONS = ("Class", "Detail", "Method", "Place")  # of the endpoints, by the names of their headers
POOLS = ("small", "medium", "large", "largest", "form", "grpc_small", "grpc_large")  # requests by their length

_CALLER = re.compile(r"[A-Za-z0-9_-]{1,32}")
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]{20,200}=*")  # RFC 6750, section 2.1
_TOKEN_BEHIND = re.compile(r"[A-Za-z0-9._~+/=-]{1,200}")  # TorchServe's are short
_ADDRESS = re.compile(r"(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\]):[0-9]{1,5}")
_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(?::[0-9]{1,5})?")
_MODEL = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_PATH = re.compile(r"[A-Za-z0-9_./@+-]+")  # what means nothing to nginx
_FILES = 16384  # descriptors; a request takes up to three
_WORKER_USERS = ("www-data", "nginx", "nobody")


class GateError(ServerError):
    """The gate cannot run so; the message says what to change."""


@dataclass(frozen=True)
class Behind:
    """What is behind the gate.

    rest, grpc: addresses as host:port. token: which all of them accept.
    are_gates: other gates, one a machine, in place of one TorchServe.
    certificate_authority: the PEM file that the gates' certificates are checked against; empty: they speak no TLS.
    certificate_name: the name in those certificates.
    canaries: of a model, the version that a share of its requests goes to, in per cent; the others ask for none.
    """

    rest: tuple[str, ...]
    grpc: tuple[str, ...]
    token: str
    are_gates: bool = False
    certificate_authority: str = ""
    certificate_name: str = ""
    canaries: Mapping[str, tuple[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class GateSettings:
    """gate.toml, which explains each line; its paths absolute, an empty one for none."""

    rest: str
    grpc: str
    callers: str
    certificate: str
    certificate_key: str
    tls_ends_elsewhere: bool
    origins: tuple[str, ...]
    body_bytes: int
    requests_per_second: int
    burst: int
    requests_at_once: int
    large_requests_at_once: int
    forms_at_once: int
    all_requests_at_once: int
    all_large_requests_at_once: int
    grpc_requests_at_once: int
    all_grpc_requests_at_once: int
    sender_seconds: int
    connection_seconds: int
    answer_seconds: int
    small_requests: int
    medium_requests: int
    large_requests: int
    largest_requests: int
    form_requests: int
    grpc_small_requests: int
    grpc_large_requests: int
    processes: int
    behind: Mapping[str, Any]

    def machines(self) -> Behind | None:
        """Return the gates that these settings put behind this one; None where it is TorchServe itself.

        Raises GateError for a file of their token that cannot be used.
        """
        if not self.behind["rest"]:
            return None
        tokens = [token for _, token in read_callers(Path(self.behind["token"]))]
        if len(tokens) != 1:
            raise GateError(f"{self.behind['token']} must hold one line `NAME TOKEN`, not {len(tokens)}")
        return Behind(
            tuple(self.behind["rest"]),
            tuple(self.behind["grpc"]),
            tokens[0],
            are_gates=True,
            certificate_authority=self.behind["certificate_authority"],
            certificate_name=self.behind["certificate_name"],
        )


def read_settings(path: Path = SETTINGS, changes: Mapping[str, Any] | None = None) -> GateSettings:
    """Read a file of settings; what it leaves out is as in gate.toml. changes: settings that win over it.

    Raises GateError for an unknown name, a wrong type or address, and for an address beyond loopback without TLS.
    """
    values = _read_with_paths(SETTINGS)
    for source, own in ((path, _read_with_paths(path)), (path, dict(changes or {}))):
        _override(values, own, source)
    settings = GateSettings(**values | {"origins": tuple(values["origins"])})
    _check(settings, path)
    return settings


def _read_with_paths(path: Path) -> dict[str, Any]:
    """Read a file, with its paths made absolute."""
    values = _read_toml(path)
    behind = values.get("behind", {})
    for table, name in (
        *((values, name) for name in ("callers", "certificate", "certificate_key")),
        *((behind, name) for name in ("token", "certificate_authority")),
    ):
        if table.get(name):
            table[name] = str((path.parent / table[name]).resolve())
    return values


def _override(values: dict[str, Any], own: Mapping[str, Any], source: Path) -> None:
    for name, value in own.items():
        if name not in values:
            raise GateError(f"{source}: there is no setting {name}")
        if type(value) is not type(values[name]):
            raise GateError(f"{source}: {name} must be {type(values[name]).__name__}, not {value!r}")
        if isinstance(value, dict):
            _override(values[name], value, source)
        else:
            values[name] = value


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise GateError(f"{path} cannot be read: {error}") from error


def _check(settings: GateSettings, path: Path) -> None:
    for address in (settings.rest, settings.grpc, *settings.behind["rest"], *settings.behind["grpc"]):
        if not _ADDRESS.fullmatch(address):
            raise GateError(f"{path}: {address!r} is not host:port")
    for origin in settings.origins:
        if not _ORIGIN.fullmatch(origin):
            raise GateError(f"{path}: {origin!r} is not an origin such as https://app.example.com")
    if bool(settings.certificate) != bool(settings.certificate_key):
        raise GateError(f"{path}: certificate and certificate_key go together")
    behind = settings.behind
    if len({bool(behind[name]) for name in ("rest", "grpc", "token")}) > 1:
        raise GateError(f"{path}: rest, grpc and token of [behind] go together")
    if bool(behind["certificate_authority"]) != bool(behind["certificate_name"]):
        raise GateError(f"{path}: certificate_authority and certificate_name of [behind] go together")
    for address in (settings.rest, settings.grpc):
        if not (settings.certificate or settings.tls_ends_elsewhere or _is_loopback(address)):
            raise GateError(
                f"{path}: {address} is beyond loopback, where tokens need TLS: name a certificate "
                "(`python -m server gate certificate` makes one to try), or set tls_ends_elsewhere"
            )
    for one in fields(settings):
        value = getattr(settings, one.name)
        if one.type is int and value < (0 if one.name == "processes" else 1):
            raise GateError(f"{path}: {one.name} must be positive, not {value}")


def _is_loopback(address: str) -> bool:
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def read_callers(path: Path) -> list[tuple[str, str]]:
    """Return the names and tokens of a file of lines `NAME TOKEN`, or of a folder of files NAME with tokens.

    Raises GateError where others than the owner may read one, and for what is no name, no token, or a token twice.
    """
    if path.is_dir():
        # A mounted secret's own versions lie in hidden folders; its names are links into them.
        files = sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
        lines = [f"{file.name} {line}" for file in files for line in _private_lines(file)]
    else:
        lines = _private_lines(path)
    callers = []
    for line in lines:
        name, _, token = line.partition(" ")
        token = token.strip()
        if not _CALLER.fullmatch(name) or not _TOKEN.fullmatch(token):
            # The line is not quoted: it may hold a token.
            raise GateError(
                f"{path}: a line is not `NAME TOKEN`: letters, digits, - and _ (at most 32), and a token of 20 to 200"
            )
        callers.append((name, token))
    if len({token for _, token in callers}) < len(callers):
        raise GateError(f"{path}: a token stands there twice")
    if not callers:
        raise GateError(f"{path} holds no token; `python -m server gate token NAME` adds one")
    return callers


def _private_lines(path: Path) -> list[str]:
    try:
        mode = path.stat().st_mode
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise GateError(
                f"{path} holds tokens and may be read by others than its owner: chmod 600 (of a secret, mode 0400)"
            )
        lines = [line.strip() for line in path.read_text().splitlines()]
    except FileNotFoundError as error:
        raise GateError(f"no tokens in {path}: `python -m server gate token NAME` makes one") from error
    except (OSError, UnicodeDecodeError) as error:
        raise GateError(f"{path} cannot be read: {error}") from error
    return [line for line in lines if line and not line.startswith("#")]


def answers(settings: GateSettings) -> dict[str, dict[str, Any]]:
    """Return what the gate answers itself: deploy/nginx/answers.toml, filled in."""
    read = _read_toml(DEPLOY / "answers.toml")
    return {code: answer | {"message": _fill(answer["message"], vars(settings))} for code, answer in read.items()}


def render(settings: GateSettings, behind: Behind, folder: Path) -> dict[str, str]:
    """Return nginx's files by their names in the gate's folder; all hold secrets or are named beside them.

    Raises GateError for callers, paths or canaries that cannot be written into them.
    """
    for text in (
        str(folder), settings.certificate, settings.certificate_key, behind.certificate_authority,
        behind.certificate_name,
    ):  # fmt: skip
        if text and not _PATH.fullmatch(text):
            raise GateError(f"{text!r}: the gate needs names of letters, digits and ._/@+- alone")
    if not _TOKEN_BEHIND.fullmatch(behind.token):
        raise GateError("the token of what is behind the gate has other characters than tokens have")
    own = answers(settings)
    files = min(_FILES, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    ssl = " ssl" if settings.certificate else ""
    values = vars(settings) | {
        "folder": folder,
        "user": _user(folder),
        "processes": settings.processes or "auto",
        "files": files,
        "connections": files // 2,
        "origins": " ".join(f'"{origin}" $http_origin;' for origin in settings.origins),
        "vary": "Origin" if settings.origins else '""',
        "option_headers": ", ".join(f"ImageTrust-{name}" for name in OPTIONS),
        "targets": _targets(behind.canaries),
        "upstreams": _upstreams(settings, behind),
        "scheme": "https" if behind.certificate_authority else "http",
        "grpc_scheme": "grpcs" if behind.certificate_authority else "grpc",
        "proxy_tls": _tls_behind("proxy", behind),
        "grpc_tls": _tls_behind("grpc", behind),
        "ssl": ssl,
        "certificate_digest": _digest(settings.certificate, settings.certificate_key),
        "tls": _TLS.format(settings.certificate, settings.certificate_key) if ssl else "",
        "failures": (_FAILURES_OF_GATES if behind.are_gates else _FAILURES).strip(),
        "retry": "" if behind.are_gates else _fill(_RETRY, {"scheme": "http"}),
        "retries": " ".join(f"/_answer/{code} {row['retry']};" for code, row in own.items() if "retry" in row),
        "grpc_statuses": " ".join(f"/_grpc/{code} {row['grpc']};" for code, row in own.items()),
        "grpc_messages": "\n".join(f'        /_grpc/{code} "{code}: {row["message"]}";' for code, row in own.items()),
        "grpc_pushbacks": " ".join(
            f"/_grpc/{code} {1000 * row['retry']};" for code, row in own.items() if "retry" in row
        ),
        **_grpc_behind(own, behind),
        "answers": "\n".join(_answer(code, row) for code, row in own.items()),
        "grpc_answers": "\n".join(
            f'        location = /_grpc/{code} {{ internal; default_type application/grpc; return 200 ""; }}'
            for code in own
        ),
    }
    values["asking"] = _fill(_ASKING, values).strip("\n")
    return {
        "nginx.conf": _fill((DEPLOY / "nginx.conf.template").read_text(), values),
        "callers.conf": _callers(read_callers(Path(settings.callers))),
        "behind.conf": f'map "" $authorization {{ default "Bearer {behind.token}"; }}\n',
    }


_TLS = """
    ssl_certificate "{}";
    ssl_certificate_key "{}";
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_session_cache shared:tls:2m;
    ssl_session_timeout 1h;
"""
_ASKING = """
            limit_req zone=rate burst={{burst}} nodelay;
            limit_conn at_once {{requests_at_once}};
            limit_conn large_at_once {{large_requests_at_once}};
            limit_conn forms_at_once {{forms_at_once}};
            limit_conn all {{all_requests_at_once}};
            limit_conn all_large {{all_large_requests_at_once}};
            {{failures}}
            proxy_pass {{scheme}}://behind_$size$target;
"""
_FAILURES = """
            proxy_intercept_errors on;
            error_page 418 = @closing;
            error_page 400 = @refused_behind;
            error_page 404 = /_answer/unknown_model;
            error_page 405 = /_answer/method_not_allowed;
            error_page 413 = /_answer/too_many_bytes;
            error_page 429 = /_answer/too_many_requests;
            error_page 500 502 507 = @again;
            error_page 503 = /_answer/busy;
            error_page 504 = /_answer/unavailable;
"""
_FAILURES_OF_GATES = """
            proxy_next_upstream error timeout http_503 non_idempotent;
"""
# Inference changes nothing, so that what a dying worker or server dropped may be asked again, once.
_RETRY = """
        location @refused_behind {
            if ($refused_behind) { rewrite ^ /_answer/$refused_behind last; }
            return 400 $upstream_http_imagetrust_error;
        }
        location @again {
            if ($not_again = answered) { return 500 $upstream_http_imagetrust_error; }
            if ($not_again) { rewrite ^ /_answer/$not_again last; }
            proxy_intercept_errors on;
            error_page 400 = @refused_behind;
            error_page 404 = /_answer/unknown_model;
            error_page 500 502 507 = @failed_twice;
            error_page 503 = /_answer/busy;
            error_page 504 = /_answer/unavailable;
            proxy_pass {{scheme}}://behind_$size$target;
        }
        location @failed_twice {
            if ($failed_twice = answered) { return 500 $upstream_http_imagetrust_error; }
            rewrite ^ /_answer/$failed_twice last;
        }
"""


def _digest(*paths: str) -> str:
    """Return what changes with the content of files, so that a renewed certificate is a changed configuration."""
    digest = hashlib.sha256()
    for path in filter(None, paths):
        try:
            digest.update(Path(path).read_bytes())
        except OSError as error:
            raise GateError(f"{path} cannot be read: {error}") from error
    return digest.hexdigest()


def _fill(text: str, values: Mapping[str, Any]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda name: str(values[name[1]]), text)


def _answer(code: str, row: Mapping[str, Any]) -> str:
    body = json.dumps({"error": {"code": code, "message": row["message"]}}, separators=(",", ":"))
    close = " keepalive_timeout 0;" if row.get("close") else ""
    return f"        location = /_answer/{code} {{ internal;{close} return {row['status']} '{body}'; }}"


def _grpc_behind(own: Mapping[str, Mapping[str, Any]], behind: Behind) -> dict[str, str]:
    """Return how the statuses of what is behind are passed on. A gate's are right as they are."""
    if behind.are_gates:
        return {"grpc_passed": "[0-9]+", "grpc_messages_behind": "", "grpc_pushback_behind": ""}
    busy, unavailable = (f'"{code}: {own[code]["message"]}"' for code in ("busy", "unavailable"))
    return {
        "grpc_passed": "0|3|5",  # OK, INVALID_ARGUMENT, NOT_FOUND
        "grpc_messages_behind": f'"~^14\\|.*has no worker" {busy}; "~^14\\|" {unavailable};',
        "grpc_pushback_behind": f"14 {1000 * own['busy']['retry']};",
    }


def _callers(callers: Iterable[tuple[str, str]]) -> str:
    # nginx compares texts without regard to case, and patterns with it.
    lines = (f'    "~^(?i:bearer) +{re.escape(token)}$" {name};' for name, token in callers)
    return "\n".join(["map $http_authorization $caller {", '    default "";', *lines, "}\n"])


def _targets(canaries: Mapping[str, tuple[str, float]]) -> str:
    """Return the entries of the map from a path to the one that is asked for, after what chooses by chance."""
    for model, (version, share) in canaries.items():
        if not (_MODEL.fullmatch(model) and _MODEL.fullmatch(version) and 0 < share < 100):
            raise GateError(f"no canary: {model!r} {version!r} {share} %")
    return " ".join(
        f'"~^/(?:predictions|explanations)/{re.escape(model)}$" $uri$canary_{number};'
        for number, model in enumerate(canaries)
    )


def _upstreams(settings: GateSettings, behind: Behind) -> str:
    texts = []
    for number, (version, share) in enumerate(behind.canaries.values()):
        # By nginx's own name of a request, which no caller chooses.
        texts.append(f'    split_clients "$request_id" $canary_{number} {{ {share:.2f}% "/{version}"; * ""; }}\n')
    for pool in POOLS:
        addresses = behind.grpc if pool.startswith("grpc") else behind.rest
        limit = getattr(settings, f"{pool}_requests")
        servers = "\n".join(f"        server {address} max_conns={limit} fail_timeout=5s;" for address in addresses)
        texts.append(
            f"    upstream behind_{pool} {{\n        zone behind_{pool} 64k;\n        least_conn;\n{servers}\n"
            "        keepalive 32;\n    }\n"
        )
    return "".join(texts)


def _tls_behind(module: str, behind: Behind) -> str:
    if not behind.certificate_authority:
        return ""
    lines = (
        f'ssl_trusted_certificate "{behind.certificate_authority}";',
        "ssl_verify on;",
        f"ssl_name {behind.certificate_name};",
        "ssl_server_name on;",
        "ssl_session_reuse on;",
    )
    return "".join(f"        {module}_{line}\n" for line in lines)


def _user(folder: Path) -> str:
    """Return the line that makes root's nginx work as somebody else; nothing where it is not root that starts it.

    Raises GateError where that user cannot reach the folder.
    """
    if os.geteuid():
        return ""
    closed = [str(path) for path in (folder, *folder.parents) if not path.stat().st_mode & stat.S_IXOTH]
    if closed:
        raise GateError(
            f"root starts the gate, which then works as another user and cannot pass {', '.join(closed)}: "
            "start it as its own user, or allow others to pass (chmod o+x)"
        )
    known = {entry.pw_name for entry in pwd.getpwall()}
    user = next((name for name in _WORKER_USERS if name in known), None)
    if user is None:
        raise GateError(f"root starts the gate, and there is none of the users {', '.join(_WORKER_USERS)} to work as")
    group = grp.getgrgid(pwd.getpwnam(user).pw_gid).gr_name
    return f"user {user} {group};"
