"""A network that writes text, one token after the other."""

from engine.spec.cards import KindCard, MetricCard

_WRITING = (
    MetricCard(
        "perplexity", "Perplexity", "lower", "Exponential of the NLL: among so many equally probable tokens the model is undecided."
    ),
    MetricCard("token_accuracy", "Token accuracy", "higher", "Share of the text's tokens that were the most probable one."),
    MetricCard(
        "text_kl_teacher_student",
        "KL(teacher ‖ student) on text",
        "lower",
        "Mean divergence of the next-token distributions at each token of held-out text.",
        unit="nats",
        short="KL\N{NO-BREAK SPACE}T‖S, text",
    ),
    MetricCard(
        "text_agreement",
        "Agreement on text",
        "higher",
        "Share of held-out tokens where both models find the same one most probable.",
        short="Text agreement",
    ),
    MetricCard(
        "rollout_kl_student_teacher",
        "KL(student ‖ teacher) on own text",
        "lower",
        "Mean divergence a token on completions that the student sampled itself. Look at it beside the NLL: a student that repeats a few sure "
        "phrases has a low one.",
        unit="nats",
        short="KL\N{NO-BREAK SPACE}S‖T, own\N{NO-BREAK SPACE}text",
    ),
    MetricCard(
        "rollout_kl_teacher_student",
        "KL(teacher ‖ student) on own text",
        "lower",
        "The same completions, the other direction: large where the student rules out what the teacher allows.",
        unit="nats",
        short="KL\N{NO-BREAK SPACE}T‖S, own\N{NO-BREAK SPACE}text",
    ),
    MetricCard(
        "acceptance",
        "Acceptance",
        "higher",
        "Mean of 1 − total variation distance on the student's completions: the share of its tokens that speculative decoding would keep.",
    ),
    MetricCard(
        "rollout_agreement",
        "Agreement on own text",
        "higher",
        "Share of tokens of the student's completions where both models find the same one most probable.",
    ),
    MetricCard(
        "teacher_log_prob",
        "Teacher's log-probability",
        "higher",
        "Mean log-probability that the teacher gives the tokens which the student sampled.",
        unit="nats",
    ),
    MetricCard(
        "entropy",
        "Entropy",
        None,
        "Mean entropy of the model's next-token distribution on its own completions; a fast fall while the NLL rises is a collapse.",
        unit="nats",
    ),
    MetricCard(
        "completion_length", "Completion length", None, "Mean number of tokens of a sampled completion.", unit="tokens", format=".1f"
    ),
    MetricCard("completion_length_max", "Longest completion", None, "Most tokens of any sampled completion.", unit="tokens", format=".0f"),
    MetricCard(
        "truncated", "Truncated", None, "Share of completions that were cut at their longest length; undefined for text that has no end."
    ),
    MetricCard(
        "prefill_ms",
        "Prefill",
        "lower",
        "Median time to read one prompt of the evaluation and fill the cache, on the device that the evaluation names.",
        unit="ms",
        format=".3f",
    ),
    MetricCard(
        "token_ms",
        "Time a token",
        "lower",
        "Median time to decode one more token of one text with the cache, on the device that the evaluation names.",
        unit="ms",
        format=".3f",
    ),
)

_CACHE = (
    MetricCard(
        "kv_bytes_per_token",
        "KV cache a token",
        "lower",
        "Bytes that decoding keeps of one more token in all layers, in bfloat16, by the formula of the architecture.",
        unit="bytes",
        format=",.0f",
        exact=True,
    ),
    MetricCard(
        "kv_bytes_per_token_measured",
        "KV cache a token, as implemented",
        "lower",
        "The same, counted in the model's own cache object; above the formula's it keeps more than it need.",
        unit="bytes",
        format=",.0f",
        short="KV a token, real",
        exact=True,
    ),
    MetricCard(
        "kv_fixed_bytes",
        "KV cache, fixed part",
        "lower",
        "Bytes that decoding keeps of a text whatever its length: the states of linear attention and convolutions; 0 for plain attention.",
        unit="bytes",
        format=",.0f",
        exact=True,
    ),
    MetricCard(
        "kv_total_32k", "KV cache at 32k", "lower", "Size of the cache of one text of 32,768 tokens in bfloat16.", unit="MiB", exact=True
    ),
    MetricCard(
        "kv_compression",
        "KV compression",
        "higher",
        "The teacher's cache over the student's, for one text of 32,768 tokens.",
        format=".2f",
        exact=True,
    ),
    MetricCard(
        "initial_kl",
        "KL before training",
        "lower",
        "KL(teacher ‖ student) on validation text after the conversion and before any step: how good the first weights are.",
        unit="nats",
    ),
)

_PRIVACY = (
    MetricCard(
        "epsilon",
        "Privacy spent ε",
        "lower",
        "What all steps so far have revealed of any one private record, at the run's δ: (ε, δ)-differential privacy; undefined without noise.",
    ),
    MetricCard("delta", "Privacy's δ", None, "The chance that ε does not bound; below 1 over the number of private records.", format=".2e"),
    MetricCard("noise_multiplier", "Noise multiplier σ", None, "Standard deviation of the noise on the sum over the clip norm."),
    MetricCard(
        "clipped_share",
        "Clipped records",
        None,
        "Share of the newest private records whose gradient was longer than the clip norm. For the data owner: outside the guarantee.",
    ),
)

_STORED = (
    MetricCard(
        "teacher_calls_distill",
        "Teacher calls in training",
        "lower",
        "Forward passes of the teacher in the last phase, evaluations not counted: 0 where training is on stored scores.",
        format=",.0f",
    ),
    MetricCard(
        "drift_weight_std",
        "Spread of π/π_ref",
        "lower",
        "Standard deviation of a stored token's probability now over that when it was written; above 0.3 the stored text has grown old.",
    ),
)

CARDS: tuple[MetricCard, ...] = (*_PRIVACY, *_STORED, *_WRITING, *_CACHE)

card = KindCard(
    id="causal-lm",
    order=2,
    title="language model",
    summary="A network that writes text, one token after the other.",
    judge="engine.tasks.language:LanguageTask.judge_language_model",
    metrics=CARDS,
    headline=("rollout_kl_student_teacher", "nll", "perplexity", "text_kl_teacher_student", "acceptance", "entropy"),
    charts=("completions",),
    from_hub=True,
)
