"""What a network costs, whatever it is."""

from engine.spec.cards import MetricCard

CARDS: tuple[MetricCard, ...] = (
    MetricCard("parameters", "Parameters", "lower", "Numbers in the model's weights.", format=",.0f"),
    MetricCard(
        "flops",
        "FLOPs",
        "lower",
        "Floating-point operations for one example, a multiplication and an addition counting as two.",
        format=",.0f",
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
