"""The endpoint `generator_type`: which family of generator made the image, if any did."""

from handlers.torchserve import Endpoint


class GeneratorType(Endpoint):
    """Answers the question `generator_type` (imagetrust.predictor)."""

    question = "generator_type"
