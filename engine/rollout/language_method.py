"""What every method that trains a causal language model has in common: who it trains, who teaches, and on which text."""

import torch
from torch import nn

from engine.method import Method
from engine.models.language import CausalLM
from engine.tasks.language import LanguageTask


class LanguageMethod(Method):
    """The parent of methods whose student and teachers are causal language models. The card sees to it; here it is known to the types."""

    @property
    def language(self) -> LanguageTask:
        """The task, with its text and vocabulary."""
        assert isinstance(self.task, LanguageTask), f"{self.card.id} needs a task with text, got {self.task.card.id}"
        return self.task

    @property
    def policy(self) -> CausalLM:
        """The student, which writes and learns."""
        return self._language_model(self.student)

    @property
    def scorer(self) -> CausalLM:
        """The teacher, the first where there are several, which judges what was written."""
        return self._language_model(self.teachers[0])

    def reduced(self) -> torch.autocast:
        """The run's number format, for what is computed outside of a step."""
        return torch.autocast(self.device.type, dtype=self.precision, enabled=self.precision is not torch.float32)

    def _language_model(self, model: nn.Module) -> CausalLM:
        assert isinstance(model, CausalLM), f"{self.card.id} takes causal language models, got a {type(model).__name__}"
        return model
