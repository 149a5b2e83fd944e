"""A network that gives each example one label."""

from engine.spec.cards import KindCard, MetricCard

CLASSIFICATION = (
    MetricCard("accuracy", "Accuracy", "higher", "Share of rows whose most probable class is the label.", format=".4f"),
    MetricCard("top5_accuracy", "Top-5 accuracy", "higher", "Share of rows whose label is among the five most probable classes."),
    MetricCard("nll", "NLL", "lower", "Mean negative log-likelihood of the label: minus the logarithm of its probability.", unit="nats"),
    MetricCard(
        "brier", "Brier score", "lower", "Mean squared distance of the probabilities from the one-hot label, summed over classes: 0 to 2."
    ),
    MetricCard(
        "ece",
        "ECE",
        "lower",
        "Expected calibration error: mean gap of confidence and accuracy over equal-width bins, weighted by their rows.",
    ),
    MetricCard(
        "ece_low", "ECE, low", None, "Lower end of the 95 % bootstrap interval of the ECE (1000 resamples, the same rows for every run)."
    ),
    MetricCard("ece_high", "ECE, high", None, "Upper end of the 95 % bootstrap interval of the ECE."),
    MetricCard("mce", "MCE", "lower", "Maximum calibration error: the largest gap of confidence and accuracy of any equal-width bin."),
    MetricCard("rmsce", "RMSCE", "lower", "Root mean squared calibration error over equal-width bins; between ECE and MCE."),
    MetricCard("ece_equal_mass", "ECE, equal mass", "lower", "ECE over bins with equal numbers of rows instead of equal widths."),
    MetricCard(
        "ada_ece",
        "AdaECE",
        "lower",
        "Adaptive ECE as published: bins between quantiles of the confidence; the smallest confidence is in none.",
    ),
    MetricCard(
        "classwise_ece",
        "Class-wise ECE",
        "lower",
        "ECE of each class's probability over all rows, averaged over classes (static calibration error).",
    ),
    MetricCard(
        "ace", "ACE", "lower", "Adaptive calibration error: class-wise, over groups of equal numbers of rows, each group counting alike."
    ),
    MetricCard(
        "overconfidence_gap",
        "Overconfidence gap",
        None,
        "Mean confidence minus accuracy; above 0 is overconfident, below 0 underconfident, 0 is best.",
        format="+.4f",
    ),
    MetricCard(
        "auroc",
        "AUROC of confidence",
        "higher",
        "Chance that a right answer is more confident than a wrong one, ties counting half; undefined if all are right or all wrong.",
    ),
    MetricCard("spr", "SPR", "higher", "As AUROC, but ties count nothing: shows a confidence that is saturated."),
    MetricCard(
        "aurc", "AURC", "lower", "Area under risk and coverage: mean error rate over all ways to answer only the most confident rows."
    ),
    MetricCard("e_aurc", "E-AURC", "lower", "AURC beyond that of the best possible order of confidence for this accuracy."),
    MetricCard("selective_accuracy_50", "Accuracy at 50 %", "higher", "Accuracy on the most confident half of the rows."),
    MetricCard("selective_accuracy_80", "Accuracy at 80 %", "higher", "Accuracy on the most confident 80 % of the rows."),
    MetricCard("selective_accuracy_90", "Accuracy at 90 %", "higher", "Accuracy on the most confident 90 % of the rows."),
    MetricCard("brier_top_label", "Brier score, top label", "lower", "Mean squared difference of confidence and correctness: 0 to 1."),
    MetricCard(
        "brier_reliability",
        "Brier reliability",
        "lower",
        "The part of the top-label Brier score that miscalibration makes, over equal-width bins.",
    ),
    MetricCard("brier_resolution", "Brier resolution", "higher", "How far the bins' accuracies lie from the mean accuracy."),
    MetricCard(
        "brier_uncertainty",
        "Brier uncertainty",
        None,
        "Accuracy times error rate: the part of the Brier score that no confidence can remove.",
    ),
    MetricCard(
        "brier_residual",
        "Brier residual",
        None,
        "What reliability − resolution + uncertainty leaves of the top-label Brier score: the spread of the confidence inside bins.",
        format="+.4f",
    ),
    MetricCard(
        "temperature",
        "Calibration temperature T*",
        None,
        "Temperature that minimizes the NLL on validation; above 1 the model was overconfident. Undefined at the search's bounds.",
    ),
    MetricCard(
        "scaled_nll",
        "NLL after scaling",
        "lower",
        "NLL with the logits divided by the calibration temperature that validation chose.",
        unit="nats",
    ),
    MetricCard(
        "scaled_ece", "ECE after scaling", "lower", "ECE with the logits divided by the calibration temperature that validation chose."
    ),
    MetricCard("agreement", "Agreement", "higher", "Share of rows where student and teacher choose the same class."),
    MetricCard(
        "kl_teacher_student",
        "KL(teacher ‖ student)",
        "lower",
        "Mean divergence of the student from the teacher at temperature 1.",
        unit="nats",
    ),
    MetricCard(
        "kl_student_teacher",
        "KL(student ‖ teacher)",
        "lower",
        "Mean divergence of the teacher from the student at temperature 1.",
        unit="nats",
    ),
    MetricCard("both_right", "Both right", "higher", "Share of rows where student and teacher are right."),
    MetricCard(
        "only_teacher",
        "Only teacher right",
        "lower",
        "Share of rows where the teacher is right and the student wrong: what was not learned.",
    ),
    MetricCard("only_student", "Only student right", "higher", "Share of rows where the student is right and the teacher wrong."),
    MetricCard("both_wrong", "Both wrong", "lower", "Share of rows where student and teacher are wrong."),
    MetricCard(
        "kendall_tau",
        "Kendall's τ",
        "higher",
        "Agreement of the order of all classes in the student's and the teacher's logits (τ-b, mean over rows): −1 to 1.",
    ),
    MetricCard(
        "gap_closed",
        "Gap closed",
        "higher",
        "Share of the accuracy between no-teacher baseline and teacher that the student gained; undefined if that is below 0.005.",
    ),
)

COST = (
    MetricCard("parameters", "Parameters", "lower", "Numbers in the model's weights.", format=",.0f", exact=True),
    MetricCard(
        "flops",
        "FLOPs",
        "lower",
        "Floating-point operations for one example, a multiplication and an addition counting as two.",
        format=",.0f",
        exact=True,
    ),
    MetricCard(
        "latency_ms",
        "Latency",
        "lower",
        "Median time of one example alone, on the device that the evaluation names.",
        unit="ms",
        format=".3f",
    ),
    MetricCard(
        "batch_latency_ms",
        "Batch latency",
        "lower",
        "Median time of one batch, on the device that the evaluation names.",
        unit="ms",
        format=".3f",
    ),
)
"""What a network costs, whatever kind it is of."""

card = KindCard(
    id="classifier",
    order=1,
    title="classifier",
    summary="A network that gives each example one of several labels.",
    judge="engine.tasks.classification:LabeledTask.judge_classifier",
    metrics=(*CLASSIFICATION, *COST),
    headline=("accuracy", "nll", "ece", "brier", "agreement", "gap_closed"),
)
