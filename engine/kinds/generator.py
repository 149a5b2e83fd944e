"""A network that makes examples in a few steps."""

from engine.spec.cards import KindCard, MetricCard

CARDS: tuple[MetricCard, ...] = (
    MetricCard(
        "fid_digits_pca_20",
        "FID[digits-pca-20]",
        "lower",
        "Fréchet distance of samples from the split's rows, on the 20 leading principal directions of the training digits.",
        format=".3f",
    ),
    MetricCard(
        "fid_digits_mlp_24",
        "FID[digits-mlp-24]",
        "lower",
        "Fréchet distance of samples from the split's rows, on 24 activations of a fixed classifier of the digits; noisier than that of principal directions.",
        format=".3f",
    ),
    MetricCard(
        "fid_mnist_pca_32",
        "FID[mnist-pca-32]",
        "lower",
        "Fréchet distance of samples from the split's rows, on the 32 leading principal directions of the MNIST training rows.",
        format=".3f",
    ),
    MetricCard(
        "fid_mnist_cnn_32",
        "FID[mnist-cnn-32]",
        "lower",
        "Fréchet distance of samples from the split's rows, on 32 activations of a fixed classifier of MNIST; noisier than that of principal directions.",
        format=".3f",
    ),
    MetricCard(
        "fid_inception_v3",
        "FID[inception-v3]",
        "lower",
        "Fréchet distance of samples from the split's rows, on the last pooling of the InceptionV3 whose weights the worker was given.",
        format=".2f",
    ),
    MetricCard(
        "fid_xy",
        "FD[xy]",
        "lower",
        "Fréchet distance of samples from the split's points, on their coordinates: it sees mean and covariance only.",
        format=".4f",
    ),
    MetricCard(
        "kid",
        "KID",
        "lower",
        "Unbiased squared MMD under a cubic kernel in the evaluation's first feature space, mean over subsets; may be negative.",
        format="+.4f",
    ),
    MetricCard(
        "precision",
        "Precision",
        "higher",
        "Share of samples that lie in the ball of some real example, which reaches to its fifth neighbor.",
    ),
    MetricCard(
        "recall", "Recall", "higher", "Share of real examples that lie in the ball of some sample, which reaches to its fifth neighbor."
    ),
    MetricCard(
        "density",
        "Density",
        "higher",
        "Mean number of real balls around a sample, over five: as precision, but outliers count little. About 1 is best.",
    ),
    MetricCard("coverage", "Coverage", "higher", "Share of real examples with a sample in their own ball: how much of the data is made."),
    MetricCard(
        "energy_distance",
        "Energy distance",
        "lower",
        "2·E|X − Y| − E|X − X'| − E|Y − Y'| of real and made examples in the evaluation's first feature space: 0 when equal.",
    ),
    MetricCard(
        "nearest_distance",
        "Distance to the data",
        "lower",
        "Mean distance of a sample to the nearest real example in the evaluation's first feature space.",
    ),
    MetricCard(
        "conditional_accuracy",
        "Conditional accuracy",
        "higher",
        "Share of samples that a fixed classifier takes for the class that was asked for.",
        short="Right class",
    ),
    MetricCard(
        "diversity",
        "Diversity",
        "higher",
        "Mean distance of two samples of one class in the evaluation's first feature space, averaged over classes.",
        format=".3f",
    ),
    MetricCard("sample_variance", "Sample variance", None, "Variance over the entries of one sample, averaged over samples.", format=".3f"),
    MetricCard(
        "variance_ratio",
        "Variance against data",
        None,
        "The samples' variance over that of the training rows: 1 is best, above 1.5 and rising is a collapse.",
        format=".3f",
    ),
    MetricCard("evaluations", "NFE", "lower", "Calls of the network for one sample.", format=",.0f", exact=True),
    MetricCard(
        "sample_ms",
        "Time a sample",
        "lower",
        "Time of all samples of the evaluation, over their number, on the device that it names.",
        unit="ms",
        format=".3f",
    ),
    MetricCard("reward", "Reward", "higher", "Mean over samples of the reward that the task's option names; several rewards are averaged."),
    MetricCard("reward_tuned", "Reward, tuned", "higher", "Mean over samples of the reward that the generator is tuned to."),
    MetricCard("reward_start", "Reward, start", None, "The same of the starting model, from the same noise."),
    MetricCard(
        "win_rate",
        "Win rate",
        "higher",
        "Share of samples with a higher reward than the starting model's from the same noise; ties count half.",
    ),
    MetricCard(
        "drift",
        "Drift from the start",
        None,
        "Energy distance of the samples to those of the starting model, in the examples' own numbers; 0 when nothing changed.",
    ),
    MetricCard(
        "augmentation_share",
        "Share of the augmentation",
        None,
        "|D_CA| / (|D_CA| + |D_DM|) of decoupled DMD: how much of the generator's direction is guidance.",
        format=".3f",
    ),
    MetricCard(
        "late_levels",
        "Augmentation too noisy",
        "lower",
        "Samples whose augmentation was computed at a level that is not below the generator's: none, unless something is wrong.",
        format=",.0f",
    ),
    MetricCard(
        "validation_loss",
        "Denoising loss",
        "lower",
        "Weighted squared error of a denoiser on validation rows, averaged over twelve levels from the lowest to the highest that it was trained on.",
    ),
)

HEADLINE = (
    "fid_inception_v3",
    "fid_digits_pca_20",
    "fid_mnist_pca_32",
    "fid_xy",
    "conditional_accuracy",
    "diversity",
    "evaluations",
    "sample_ms",
)
"""Of generators and denoisers alike; a task measures only some of the distances."""

card = KindCard(
    id="generator",
    order=3,
    title="generator",
    summary="A network that makes examples from noise in one step or a few.",
    judge="engine.tasks.generation:GenerationTask.judge_samples",
    metrics=CARDS,
    headline=HEADLINE,
    charts=("samples", "distances"),
)
