"""A few examples that stand for many: what a distilled data set is."""

from engine.spec.cards import KindCard, MetricCard

_FRESH = "share of rows that networks get right which were trained from scratch on {}; mean over networks."

CARDS: tuple[MetricCard, ...] = (
    MetricCard("set_accuracy", "Accuracy of fresh networks", "higher", "The " + _FRESH.format("the set alone"), short="Fresh networks"),
    MetricCard(
        "set_accuracy_std", "Spread of fresh networks", None, "Standard deviation of that accuracy over networks, with the divisor n."
    ),
    MetricCard(
        "unseen_accuracy",
        "Accuracy of unseen architectures",
        "higher",
        "The same with architectures that took no part in making the set; mean over their networks.",
        short="Unseen networks",
    ),
    MetricCard("unseen_accuracy_std", "Spread of unseen architectures", None, "Standard deviation of that accuracy, with the divisor n."),
    MetricCard(
        "learned_rate_accuracy",
        "Accuracy at the learned rate",
        "higher",
        "The same as the accuracy of fresh networks, trained with the learning rate that the set brings instead of the recipe's.",
    ),
    MetricCard(
        "raw_accuracy", "Accuracy before averaging", "higher", "The " + _FRESH.format("the last pictures, not their moving average")
    ),
    MetricCard("raw_unseen_accuracy", "Unseen architectures, before averaging", "higher", "The same with architectures that took no part."),
    MetricCard(
        "random_rows_accuracy",
        "Accuracy of random rows",
        None,
        "The " + _FRESH.format("as many random real rows of each class"),
        short="Random rows",
    ),
    MetricCard("random_rows_unseen_accuracy", "Unseen architectures, random rows", None, "The same with architectures that took no part."),
    MetricCard(
        "kmeans_rows_accuracy",
        "Accuracy of K-means rows",
        None,
        "The " + _FRESH.format("the real rows nearest to the centers of as many clusters of each class"),
    ),
    MetricCard("all_rows_accuracy", "Accuracy of all rows", None, "The " + _FRESH.format("all real rows, with as many steps")),
    MetricCard("images_per_class", "Images per class", None, "Pictures in the set for each class.", format=".4g", exact=True),
    MetricCard(
        "compression",
        "Share of the real rows",
        "lower",
        "Pictures in the set divided by the real training rows.",
        format=".4f",
        short="Share of rows",
        exact=True,
    ),
    MetricCard(
        "image_bytes",
        "Size of the images",
        "lower",
        "Memory of the set's pictures as stored.",
        unit="bytes",
        format=",.0f",
        short="Images",
        exact=True,
    ),
    MetricCard(
        "label_bytes",
        "Size of the labels",
        "lower",
        "Memory of the set's labels as stored.",
        unit="bytes",
        format=",.0f",
        short="Labels",
        exact=True,
    ),
    MetricCard("learned_rate", "Learned rate", None, "Learning rate that was learned with the pictures.", format=".4g"),
    MetricCard(
        "outer_loss_start",
        "Outer loss at the start",
        None,
        "Mean over the first 10 outer iterations of the normalized distance to the expert; 1 is a network that did not come closer.",
    ),
    MetricCard("outer_loss_end", "Outer loss at the end", "lower", "The same over the last 20 iterations so far."),
    MetricCard(
        "expert_accuracy",
        "Accuracy of the experts",
        None,
        "Share of validation rows that the experts get right after their last epoch; mean over the experts that are matched.",
    ),
    MetricCard(
        "trajectory_error",
        "Accumulated trajectory error",
        "lower",
        "Squared distance of a network that began as an expert did and learned from the set, to that expert's weights, over how far the expert had moved; the expert took no part in making the set.",
    ),
    MetricCard(
        "far_pixels", "Far pixels", None, "Share of the set's pixels farther than 2.5 standard deviations from the mean of the real ones."
    ),
)

card = KindCard(
    id="dataset",
    order=5,
    title="data set",
    summary="A few examples with labels, made so that networks learn from them what they would from many real ones.",
    judge="engine.tasks.classification:PicturesTask.judge_set",
    model="engine.models.synthetic_set:SyntheticSet",
    metrics=CARDS,
    headline=("set_accuracy", "unseen_accuracy", "random_rows_accuracy", "compression", "image_bytes", "label_bytes"),
)
