"""What every method that trains a causal language model has in common: who it trains, who teaches, and on which text."""

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
        assert isinstance(self.student, CausalLM), f"{self.card.id} trains a causal language model, got a {type(self.student).__name__}"
        return self.student

    @property
    def scorer(self) -> CausalLM:
        """The one teacher, which judges what was written."""
        assert isinstance(self.teacher, CausalLM), f"{self.card.id} takes causal language models, got a {type(self.teacher).__name__}"
        return self.teacher
