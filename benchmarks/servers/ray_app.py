"""Ray Serve around our predictor, a replica a worker: `python -m benchmarks.servers.ray_app FOLDER --port ...`."""

import logging
import os
from pathlib import Path

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # a benchmark calls nobody unasked

import ray  # noqa: E402
from ray import serve  # noqa: E402
from starlette.requests import Request  # noqa: E402
from starlette.responses import Response  # noqa: E402

from benchmarks.servers.in_process import answer_batch, load_predictor, read_arguments  # noqa: E402

STORE_BYTES = 80 * 2**20  # of Ray's memory for objects; images travel outside of it


@serve.deployment
class Answering:
    """Answers the image in a form's field. folder: the serving folder. batch_delay: milliseconds."""

    def __init__(self, folder: Path, batch_size: int, batch_delay: float) -> None:
        self.predictor = load_predictor(folder)
        self.answer.set_max_batch_size(batch_size)
        self.answer.set_batch_wait_timeout_s(batch_delay / 1000)

    @serve.batch
    async def answer(self, images: list[bytes]) -> list[bytes]:
        """Return the JSON answer to each image of a batch."""
        return answer_batch(self.predictor, images)

    async def __call__(self, request: Request) -> Response:
        """Return the answer as it is; to GET an empty one, which says that a replica is up."""
        if request.method == "GET":
            return Response()
        async with request.form() as form:
            image = await form["image"].read()
        return Response(await self.answer(image), media_type="application/json")


def main() -> None:
    """Serve until the process is ended."""
    arguments = read_arguments()
    ray.init(
        "local", num_cpus=arguments.workers, object_store_memory=STORE_BYTES, include_dashboard=False,
        logging_level=logging.ERROR,
    )  # fmt: skip
    serve.start(http_options={"host": "127.0.0.1", "port": arguments.port})
    replicas = Answering.options(num_replicas=arguments.workers)
    serve.run(replicas.bind(arguments.folder, arguments.batch_size, arguments.batch_delay), blocking=True)


if __name__ == "__main__":
    main()
