"""The endpoint `authenticity`: whether people and cameras made the image, or a machine."""

from handlers.torchserve import Endpoint


class Authenticity(Endpoint):
    """Answers the question `authenticity` (imagetrust.predictor)."""

    question = "authenticity"
