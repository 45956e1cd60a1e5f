"""The endpoint `explanation`: what the pixels say and where, what the file declares, and how the two go together."""

from handlers.torchserve import Endpoint


class Explanation(Endpoint):
    """Answers the question `explanation` (imagetrust.predictor)."""

    question = "explanation"
