"""A few examples that stand for many: what a distilled data set is."""

from engine.metrics import cards_dataset
from engine.spec.cards import KindCard

card = KindCard(
    id="dataset",
    order=5,
    title="data set",
    summary="A few examples with labels, made so that networks learn from them what they would from many real ones.",
    judge="engine.tasks.classification:PicturesTask.judge_set",
    model="engine.models.synthetic_set:SyntheticSet",
    metrics=cards_dataset.CARDS,
    headline=("set_accuracy", "unseen_accuracy", "random_rows_accuracy", "compression", "image_bytes", "label_bytes"),
)
