"""The endpoint `generator_type`: which family of generator made the picture, if any did?"""

from typing import Any

import torch

from handlers.single_model import SingleModelHandler
from handlers.verdicts import generator_type_answer


class GeneratorType(SingleModelHandler):
    """Answers with the likeliest of real, gan, diffusion and other, and the probability of each."""

    model_names = ("generator_type",)

    def answer_logits(self, logits: torch.Tensor) -> dict[str, Any]:
        return generator_type_answer(self.classifier, logits, self.engine_of(self.classifier).name)
