"""The configurations of our own architectures, without torch, so that a spec that changes one can be checked in a web process."""

from collections.abc import Sequence
from math import prod
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from engine.models.set_configs import SyntheticSetConfig
from engine.spec.cards import StrictModel

Width = Annotated[int, Field(ge=1, le=65536)]
Classes = Annotated[int, Field(ge=2, le=1_000_000)]


class MlpConfig(StrictModel):
    """Layers with biases and ReLU between them."""

    inputs: Width = Field(description="Numbers in one flattened example.")
    hidden: list[Width] = Field(max_length=64, description="Width of each hidden layer.")
    classes: Classes = Field(description="Numbers in one row of logits.")


class CnnConfig(StrictModel):
    """Convolutions over a square picture."""

    channels: Annotated[int, Field(ge=1, le=1024)] = Field(description="Channels of the picture.")
    widths: list[Annotated[int, Field(ge=1, le=4096)]] = Field(
        min_length=1, max_length=8, description="Channels of each stage; every stage after the first halves height and width."
    )
    grid: Annotated[int, Field(ge=1, le=64)] = Field(1, description="Height and width that the last mean over the picture leaves.")
    classes: Classes = Field(description="Numbers in one row of logits.")


class ResnetConfig(CnnConfig):
    """A convolutional network with residual blocks."""

    blocks: Annotated[int, Field(ge=1, le=64)] = Field(description="Residual blocks in each stage.")
    stem_stride: Annotated[int, Field(ge=1, le=4)] = Field(1, description="Stride of the first convolution.")


class ConvnetConfig(StrictModel):
    """The ConvNet of the literature on data set distillation."""

    channels: Annotated[int, Field(ge=1, le=1024)] = Field(description="Channels of the picture.")
    width: Annotated[int, Field(ge=1, le=4096)] = Field(description="Channels of every block.")
    depth: Annotated[int, Field(ge=1, le=8)] = Field(description="Blocks; each halves height and width, rounded down.")
    grid: Annotated[int, Field(ge=1, le=64)] = Field(description="Height and width that the blocks leave of the picture.")
    classes: Classes = Field(description="Numbers in one row of logits.")


class LenetConfig(StrictModel):
    """A LeNet: two convolutions with pooling, then three linear layers."""

    channels: Annotated[int, Field(ge=1, le=1024)] = Field(description="Channels of the picture.")
    widths: list[Annotated[int, Field(ge=1, le=4096)]] = Field(min_length=2, max_length=2, description="Channels of the two convolutions.")
    hidden: list[Width] = Field(min_length=2, max_length=2, description="Widths of the two hidden linear layers.")
    grid: Annotated[int, Field(ge=1, le=64)] = Field(description="A quarter of the picture's height and width, rounded down.")
    classes: Classes = Field(description="Numbers in one row of logits.")


class KernelRidgeConfig(StrictModel):
    """A kernel ridge fit: its training rows are its weights."""

    rows: Annotated[int, Field(ge=1, le=1_000_000)] = Field(description="Training rows that it keeps.")
    inputs: Width = Field(description="Numbers in one flattened example.")
    classes: Classes = Field(description="Numbers in one row of logits.")
    gamma: Annotated[float, Field(gt=0)] = Field(description="γ of the kernel exp(−γ‖x − x'‖²).")


class DecoderConfig(StrictModel):
    """What all causal language models have."""

    vocabulary: Annotated[int, Field(ge=2, le=1_000_000)] = Field(description="Words of the vocabulary: numbers in one row of logits.")
    width: Width = Field(description="Numbers in one token's hidden state.")
    layers: Annotated[int, Field(ge=1, le=1024)] = Field(description="Blocks of attention and MLP.")
    heads: Annotated[int, Field(ge=1, le=1024)] = Field(description="Attention heads; they divide the width.")
    positions: Annotated[int, Field(ge=2, le=10_000_000)] = Field(description="Longest context in tokens.")


class BigramConfig(StrictModel):
    """A table of logits of the next token by the last one."""

    vocabulary: Annotated[int, Field(ge=2, le=100_000)] = Field(description="Words of the vocabulary: the table's rows and columns.")
    positions: Annotated[int, Field(ge=2, le=10_000_000)] = Field(10_000_000, description="Longest context in tokens; the table needs one.")


class Gpt2Config(DecoderConfig):
    """transformers' GPT-2: LayerNorm before each part, learned positions, GELU, biases, an output layer of its own, no dropout."""

    mlp_width: Width | None = Field(None, description="Width of the MLP; empty for four times the width.")


class LlamaConfig(DecoderConfig):
    """transformers' Llama: RMSNorm before each part, rotary positions, a gated MLP, no biases."""

    kv_heads: Annotated[int, Field(ge=1, le=1024)] | None = Field(None, description="Key and value heads; empty for as many as heads.")
    head_width: Width | None = Field(None, description="Numbers in one head; empty for width / heads.")
    mlp_width: Width = Field(description="Width of the MLP.")
    rope_theta: Annotated[float, Field(gt=0)] = Field(10000.0, description="Base of the rotary frequencies.")
    tied: bool = Field(False, description="Whether the output layer is the transposed embedding.")


class LatentSizes(StrictModel):
    """The sizes of one layer of latent attention. What decoding keeps of a token are kv_rank + rope numbers."""

    q_rank: Width = Field(description="Numbers in the latent of a token's queries.")
    kv_rank: Width = Field(description="Numbers in the latent of a token's keys and values.")
    nope: Width = Field(description="Numbers in one head's key that know no position.")
    rope: Annotated[int, Field(ge=0, le=65536, multiple_of=2)] = Field(description="Numbers in the rotated key that all heads share; even.")
    value: Width = Field(description="Numbers in one head's value.")


class LatentLlamaConfig(LlamaConfig):
    """transformers' Llama with latent attention in some layers, or in all."""

    latent: list[LatentSizes | None] = Field(
        description="The sizes of each layer's latent attention; null for a layer with plain attention."
    )
    latent_norm: bool = Field(False, description="Whether both latents go through an RMSNorm.")
    norm_eps: Annotated[float, Field(gt=0, lt=1)] = Field(1e-6, description="What every RMSNorm adds to the mean square.")

    @model_validator(mode="after")
    def _one_entry_a_layer(self) -> Self:
        if len(self.latent) != self.layers:
            raise ValueError(f"latent must have an entry for each of the {self.layers} layers; got {len(self.latent)}")
        return self


class PretrainedConfig(StrictModel):
    """A network of transformers' own code, by what its configuration's `to_dict()` says."""

    config: dict[str, Any] = Field(description="The configuration, with its model_type.")


class WordBagConfig(StrictModel):
    """The mean over a table's rows for the words of a text, and a linear layer on it."""

    vocabulary: Annotated[int, Field(ge=2, le=1_000_000)] = Field(description="Words of the vocabulary, padding included.")
    width: Width = Field(description="Numbers that stand for a word.")
    classes: Classes = Field(description="Numbers in one row of logits.")


class BertConfig(WordBagConfig):
    """transformers' BERT, the mean over its last hidden states at real words, and a linear layer on it; no dropout."""

    layers: Annotated[int, Field(ge=1, le=1024)] = Field(description="Blocks of attention and MLP.")
    heads: Annotated[int, Field(ge=1, le=1024)] = Field(description="Attention heads; they divide the width.")
    mlp_width: Width = Field(description="Width of the MLP.")
    length: Annotated[int, Field(ge=1, le=1_000_000)] = Field(description="Words in a row, padding included.")

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"heads must divide the width of {self.width}; got {self.heads}")
        return self


class MiniLMConfig(StrictModel):
    """A BERT of the sizes of all-MiniLM-L6-v2: six layers of width 384 with twelve heads, rows of at most 512 words out of 30,522."""

    classes: Classes = Field(description="Numbers in one row of logits.")
    frozen: bool = Field(False, description="Whether only the linear layer learns and the body stays as it is.")


def sizes_of_task(input_shape: Sequence[int], classes: int | None, words: int | None = None) -> dict[str, int]:
    """What these fields of a configuration must be for examples of `input_shape` in `classes` classes: the task decides, not the network.

    A shape of three is (channels, height, width); without one there are no channels to be right or wrong. A shape of one has a length. The
    vocabulary is that of `words` where text is classified, else the classes.
    """
    sizes = {"inputs": prod(input_shape)}
    if classes is not None:
        sizes |= {"classes": classes, "vocabulary": words or classes}
    if len(input_shape) == 3:
        sizes["channels"] = input_shape[0]
    if len(input_shape) == 1:
        sizes["length"] = input_shape[0]
    return sizes


class DenoiserConfig(StrictModel):
    """What all denoisers and few-step generators have."""

    sigma_data: Annotated[float, Field(gt=0)] = Field(description="Standard deviation of the data over all entries.")
    levels: list[Annotated[float, Field(gt=0)]] = Field(
        default_factory=list,
        max_length=1000,
        description="Noise levels σ of a generator, descending, one a step; empty for a denoiser, whose equation is integrated.",
    )
    transition: Literal["renoise", "ancestral"] = Field(
        "renoise",
        description="How a generator gets from one level to the next: by fresh noise on the predicted example, or by an Euler step and less noise.",
    )
    sampler_steps: Annotated[int, Field(ge=1, le=10_000)] = Field(18, description="Steps of Heun's method for a sample of a denoiser.")
    sigma_min: Annotated[float, Field(gt=0)] = Field(0.02, description="Lowest noise level σ of the denoiser's grid.")
    sigma_max: Annotated[float, Field(gt=0)] = Field(20.0, description="Highest noise level σ, from which sampling begins.")


class EdmMlpConfig(DenoiserConfig):
    """A denoiser or few-step generator: EDM's preconditioning around a residual multilayer perceptron."""

    inputs: Width = Field(description="Numbers in one flattened example.")
    width: Width = Field(128, description="Numbers in a hidden layer.")
    blocks: Annotated[int, Field(ge=1, le=256)] = Field(3, description="Residual blocks.")
    classes: Annotated[int, Field(ge=0, le=1_000_000)] = Field(description="Classes that can be asked for; 0 where examples have none.")


class EdmUnetConfig(DenoiserConfig):
    """A denoiser or few-step generator of pictures: EDM's preconditioning around a small U-Net."""

    channels: Annotated[int, Field(ge=1, le=1024)] = Field(description="Channels of the picture.")
    widths: list[Annotated[int, Field(ge=8, le=4096, multiple_of=8)]] = Field(
        min_length=1, max_length=8, description="Channels of each scale; every scale after the first halves height and width."
    )
    classes: Annotated[int, Field(ge=0, le=1_000_000)] = Field(description="Classes that can be asked for; 0 where examples have none.")


class VpMlpConfig(DenoiserConfig):
    """A denoiser or few-step generator of points: a plain perceptron that predicts the clean point of a variance-preserving process."""

    inputs: Width = Field(description="Coordinates of a point.")
    width: Width = Field(96, description="Numbers in a hidden layer.")
    layers: Annotated[int, Field(ge=1, le=64)] = Field(3, description="Hidden layers.")
    transition: Literal["renoise", "ancestral"] = Field(
        "renoise",
        description="How a generator gets from one level to the next: by fresh noise on the predicted example, or by an Euler step and less noise.",
    )
    sampler_steps: Annotated[int, Field(ge=1, le=10_000)] = Field(100, description="Steps of DDIM for a sample of a denoiser.")
    sigma_min: Annotated[float, Field(gt=0)] = Field(0.03142, description="Lowest noise level σ of the denoiser's grid.")
    sigma_max: Annotated[float, Field(gt=0)] = Field(31.82, description="Highest noise level σ, from which sampling begins.")


class KnowledgeConfig(StrictModel):
    """How a planner uses a knowledge base."""

    patience: Annotated[int, Field(ge=1, le=10_000)] = Field(2, description="Failures of one action in a row after which another is tried.")
    follow: Annotated[float, Field(ge=0, le=1)] = Field(0.85, description="Chance to do what the plan says; otherwise any allowed action.")
    temporary_rules: bool = Field(
        False, description="Whether what failed too often is also forbidden in this state until the episode ends."
    )


class SceneConfig(StrictModel):
    """Patches on a sphere, with a radiance field, material and light."""

    patches: Annotated[int, Field(ge=1, le=1_000_000)] = Field(400, description="Patches on the sphere.")
    height: Annotated[int, Field(ge=2, le=1024)] = Field(16, description="Rows of the environment light, from pole to pole.")
    width: Annotated[int, Field(ge=2, le=2048)] = Field(32, description="Columns of the environment light.")
    start: Annotated[float, Field(gt=0, lt=1)] = Field(0.01, description="Progress that every patch begins with.")
    fixed_progress: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None, description="The progress of every patch, where it is not learned: 1 draws by light and material alone."
    )


CONFIGS: dict[str, type[StrictModel]] = {
    "edm_mlp": EdmMlpConfig,
    "edm_unet": EdmUnetConfig,
    "vp_mlp": VpMlpConfig,
    "mlp": MlpConfig,
    "narrow_cnn": CnnConfig,
    "resnet": ResnetConfig,
    "kernel_ridge": KernelRidgeConfig,
    "convnet": ConvnetConfig,
    "lenet": LenetConfig,
    "synthetic_set": SyntheticSetConfig,
    "gpt2": Gpt2Config,
    "llama": LlamaConfig,
    "bigram": BigramConfig,
    "pretrained": PretrainedConfig,
    "word_bag": WordBagConfig,
    "bert": BertConfig,
    "minilm": MiniLMConfig,
    "latent_llama": LatentLlamaConfig,
    "knowledge_base": KnowledgeConfig,
    "surfel_scene": SceneConfig,
}
