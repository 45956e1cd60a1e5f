"""What these load tests add to Locust's command line, its web UI and its environment variables."""

from urllib.parse import urlsplit

from locust import events
from locust.env import Environment

GRPC_PORT = 7070


@events.init_command_line_parser.add_listener
def add_options(parser) -> None:
    """The token may come from the environment, so that it need not show in a list of processes.

    It is kept out of the web UI, whose page would hand it to whoever opens it.
    """
    parser.add_argument("--token", env_var="IMAGETRUST_TOKEN", default="", include_in_web_ui=False,
                        help="inference token")  # fmt: skip
    parser.add_argument(
        "--grpc-host", env_var="IMAGETRUST_GRPC_HOST", default="", metavar="HOST:PORT",
        help=f"where gRPC is served; by default port {GRPC_PORT} of --host's machine",
    )  # fmt: skip


def token(environment: Environment) -> str:
    """The token to send. On a worker these options come from the master, when the test starts."""
    return environment.parsed_options.token


def grpc_address(environment: Environment, host: str) -> str:
    """Where gRPC is served, as "name:port". host: the URL of the REST side."""
    return environment.parsed_options.grpc_host or f"{urlsplit(host).hostname}:{GRPC_PORT}"
