"""First weights by singular value decomposition against random ones, at three ranks, on a small character model of Python's source."""

from typing import Any

from engine.evidence.experiment import Arm, Claim, Evidence, lower

RANKS = (8, 24, 56)
KL, BEFORE = "text_kl_teacher_student", "validation/initial_kl"
TASK = {"task": "stdlib-source", "task_options": {"evaluation_prompts": 32}}


def source(seed: int, student: str = "llama-2x64") -> dict[str, Any]:
    """The model to convert: 300 steps of cross-entropy."""
    settings = {"optimizer": "adamw", "learning_rate": 2e-3, "schedule": "cosine", "batch_size": 16}
    return {**TASK, "method": "supervised", "student": student, "settings": settings, "seed": seed, "budget": {"steps": 300}}


def converted(seed: int, rank: int, initialization: str) -> dict[str, Any]:
    """Both layers at one rank, and 60 steps of KL to the teacher."""
    settings = {"kv_rank": rank, "q_rank": 64, "rope_width": 8, "initialization": initialization, "compared_ranks": []}
    return {**TASK, "method": "x-ecomla", "settings": settings, "seed": seed, "budget": {"steps": 60}}


def arm(rank: int, initialization: str) -> Arm:
    title = f"rank {rank}, {'SVD' if initialization == 'svd' else 'random'}"
    return Arm(
        id=f"{initialization}-{rank}",
        title=title,
        spec=lambda seed: converted(seed, rank, initialization),
        teachers=("source",),
        student="source",
    )


evidence = Evidence(
    method="x-ecomla",
    protocol="""
Python's standard library as source text, by character: the 100 printable characters of ASCII and one symbol for all others; files are split by the
hash of their names into 80 % training, 10 % validation and 10 % test, cut to 400,000, 100,000 and 100,000 characters. The source model is a Llama with two layers, width 64, four heads of 16
with two key and value heads, rotary base 10,000, a gated MLP of 256 and an output layer of its own, trained with seed s for 300 steps of 16
windows of 64 characters: AdamW at 0.002 with a cosine, no weight decay. Both its layers are converted (d_n = d_r = 8, r_q = 64) at ranks
8, 24 and 56, and trained for 60 steps of 16 windows by KL to the source: AdamW at 0.001 with a cosine. The random arms have the same shapes,
W_DQ, W_UQ, W_DKV and W_UKV as nn.Linear draws them, and W_O and all else copied, as in the SVD arms. KL is the mean over 32 equally spaced
windows of 64 characters; after training it is measured on the test files, before training on the validation files.
""",
    arms=(
        Arm(id="source", title="source, not converted", spec=source),
        Arm(id="larger", title="larger teacher, not converted", spec=lambda seed: source(seed, "llama-3x96")),
        *(arm(rank, initialization) for rank in RANKS for initialization in ("svd", "random")),
        Arm(
            id="svd-24-larger",
            title="rank 24, SVD, larger teacher",
            spec=lambda seed: converted(seed, 24, "svd"),
            teachers=("larger",),
            student="source",
        ),
    ),
    baseline="source",
    metrics=(KL, BEFORE, f"validation/{KL}", "nll", "text_agreement", "kv_bytes_per_token", "kv_bytes_per_token_measured", "parameters"),
    claims=(
        Claim(
            "Before training, the KL of weights made by SVD is below that of random ones at every rank.",
            *(lower(BEFORE, f"svd-{rank}", f"random-{rank}") for rank in RANKS),
        ),
        Claim(
            "After 60 steps the KL on the test files is below that of random ones at every rank.",
            *(lower(KL, f"svd-{rank}", f"random-{rank}") for rank in RANKS),
        ),
        Claim("With SVD, rank 24 has a lower KL than rank 8 after training.", lower(KL, "svd-24", "svd-8")),
        Claim(
            "A different, larger teacher can be plugged in: the KL to it, on validation, is lower after training than before.",
            lower(f"validation/{KL}", "svd-24-larger", "svd-24-larger", other_metric=BEFORE),
        ),
    ),
    notes="""
- Rank 56 against 24 is no claim: beyond 24 the change of the rotary positions, not the rank, dominates.
- That a larger teacher makes a better student is not asked at this size; its row's KL is to that teacher, and can't be compared with the others'.
- The cache counts r + 8 numbers of a token and layer, in place of 64: 4, 2 and 1 times less.
""",
    published="""
Li et al. (2025), zero-shot average over nine tasks. Llama-3.2-1B has 52.85; converted at r = 128 (6.4 times less cache) with itself as the
teacher 51.97, with the 3B model 52.70, with the 8B model 53.61; at r = 64 (10.6 times less) with the 8B model 52.68.
""",
)
