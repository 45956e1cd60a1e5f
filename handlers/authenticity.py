"""The endpoint `authenticity`: is the picture a photograph or machine-made?"""

from typing import Any

import torch

from handlers.single_model import SingleModelHandler
from handlers.verdicts import authenticity_answer


class Authenticity(SingleModelHandler):
    """Answers with label, probability of being generated, confidence and verdict."""

    model_names = ("authenticity",)

    def answer_logits(self, logits: torch.Tensor) -> dict[str, Any]:
        return authenticity_answer(self.classifier, logits, self.engine_of(self.classifier).name)
