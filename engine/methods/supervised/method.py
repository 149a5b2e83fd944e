"""Cross-entropy on labels, with label smoothing by Szegedy et al. (2015), arXiv:1512.00567, section 7."""

from collections.abc import Iterator

from engine.losses.labels import label_cross_entropy
from engine.method import Batch, Logs, Method, Phase
from engine.methods.supervised.card import Settings, card


class Supervised(Method):
    card = card
    settings: Settings

    def build(self) -> None:
        self.net = self.prepare(self.student)
        self.optimizer = self.make_optimizer(self.student)

    def phases(self) -> Iterator[Phase]:
        yield Phase("train", self.step, self.budget.steps, batch_size=self.settings.batch_size)

    def step(self, batch: Batch) -> Logs:
        loss = label_cross_entropy(self.net(batch.inputs), batch.targets, smoothing=self.settings.label_smoothing)
        self.update(self.optimizer, loss)
        return {"loss": loss}
