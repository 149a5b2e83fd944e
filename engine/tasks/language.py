"""What the tasks with text share: windows to train on, prompts to go on from, and how a language model is judged.

A child sets `card` and `window`, and writes `texts` and `vocabulary_of`. Judging a model samples one completion for each of the same prompts
with the same generator, so that two models differ in nothing but themselves.
"""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from engine import charts
from engine.errors import ModelError, SpecError
from engine.method import Batch
from engine.metrics.cost import parameter_count
from engine.metrics.kv_cache import kv_report
from engine.metrics.language import held_out_report, rollout_report, speed_report, tokens_of_rollouts
from engine.models.build import build
from engine.models.language import CausalLM, open_pretrained, open_tokenizer
from engine.rollout.generate import Sampling, generate
from engine.rollout.record import RolloutBatch
from engine.seeds import derived_seed
from engine.tasks.language_options import LanguageOptions
from engine.tasks.task import Judgement, Split, Task
from engine.tasks.vocabulary import BytePairs, Vocabulary

COMPARED = 20_000
"""Tokens of the validation text by which a model's tokenizer is told from the task's."""

SHOWN = 8  # completions in the table of an evaluation
SPEED = {
    "prefill_ms": "one prompt (ms)",
    "token_ms": "one further token of one text (ms)",
    "tokens_per_second": "tokens a second, all prompts together",
    "prompt_tokens": "tokens of a prompt",
    "rows": "prompts",
    "device": "measured on",
}


class LanguageTask(Task):
    """Text as three streams of tokens, `tokens[split]` (tokens,) int64 on the run's device.

    A split's rows are all windows of `window` tokens: inputs (rows, window), targets (rows, window) one token later, as views of the stream.
    """

    options: LanguageOptions
    window: ClassVar[int]
    vocabulary: Vocabulary
    tokens: dict[str, Tensor]

    def texts(self) -> dict[str, str]:
        """The text of train, validation and test. Raises DataError."""
        raise NotImplementedError

    def vocabulary_of(self, texts: Mapping[str, str]) -> Vocabulary:
        """What turns these texts into tokens."""
        raise NotImplementedError

    def load(self) -> dict[str, Split]:
        texts = self.texts()
        self.vocabulary = self.vocabulary_of(texts)
        assert self.vocabulary.size == self.card.classes, f"{self.card.id}: {self.vocabulary.size} words, its card says {self.card.classes}"
        self.tokens = {split: self.vocabulary.encode(text).to(self.device) for split, text in texts.items()}
        if self.options.train_limit is not None:
            self.tokens["train"] = self.tokens["train"][: self.options.train_limit + self.window]
        self._teacher_texts: WeakKeyDictionary[nn.Module, dict[str, list[dict[str, Any]]]] = WeakKeyDictionary()
        return {
            split: Split(tokens[:-1].unfold(0, self.window, 1), tokens[1:].unfold(0, self.window, 1))
            for split, tokens in self.tokens.items()
        }

    def text_digest(self, split: str) -> str | None:
        if split not in self.tokens:
            return None
        return hashlib.sha256(self.vocabulary.fingerprint().encode() + self.tokens[split].cpu().numpy().tobytes()).hexdigest()

    def new_model(self, architecture: str, config: Mapping[str, Any]) -> nn.Module:
        chosen = self.card.architectures[architecture]
        return build(chosen.builder, {**chosen.config, **config})

    def open_hf(self, name: str, field: str) -> tuple[nn.Module, dict[str, Any]]:
        """See `engine.models.language.open_pretrained`. A model of another vocabulary is refused, and one whose tokenizer reads the task's text
        otherwise: as many words are not the same words."""
        model, blueprint = open_pretrained(name)
        if model.vocabulary != self.card.classes:
            raise SpecError.at(
                field, f"must have the {self.card.classes} words of the task {self.card.id}; hf:{name} has {model.vocabulary}."
            )
        self._check_tokenizer(name, field)
        return model, blueprint

    def _check_tokenizer(self, name: str, field: str) -> None:
        text = self.vocabulary.decode(self.tokens["validation"][:COMPARED].tolist())
        try:
            theirs = BytePairs(open_tokenizer(name))
            found = theirs.encode(text)
        except ModelError as error:
            found, why = torch.empty(0), str(error)
        else:
            why = f"hf:{name} has no tokenizer that makes anything of a text."
        if not len(found):
            raise SpecError.at(
                field, f"must bring the tokenizer that its words are of, to be compared with that of the task {self.card.id}: {why}"
            )
        if not torch.equal(found, ours := self.vocabulary.encode(text)):
            both = min(len(found), len(ours))
            at = int((found[:both] == ours[:both]).int().cumprod(dim=0).sum())
            raise SpecError.at(
                field,
                f"must read text as the task {self.card.id} does; the tokenizer of hf:{name} ({theirs.fingerprint()[:8]}) and that of the task "
                f"({self.vocabulary.fingerprint()[:8]}) part at token {at} of the task's validation text.",
            )

    # What methods train on

    def continuations(self, batch_size: int, *, prompt_tokens: int, completion_tokens: int) -> Callable[[int, torch.Generator], Batch]:
        """A source of batches for a Phase: inputs (batch, prompt_tokens) from random places of the training text, targets
        (batch, completion_tokens) as the text goes on there, index (batch,) the places."""
        tokens = self.tokens["train"]
        width = prompt_tokens + completion_tokens
        offsets = torch.arange(width, device=self.device)

        def draw(step: int, generator: torch.Generator) -> Batch:
            places = torch.randint(len(tokens) - width + 1, (batch_size,), generator=generator, device=self.device)
            rows = tokens[places[:, None] + offsets]
            return Batch(rows[:, :prompt_tokens], rows[:, prompt_tokens:], places)

        return draw

    def prompts(self, split: str) -> Tensor:
        """The fixed prompts of an evaluation, (evaluation_prompts, prompt_tokens) int64, none of them padded."""
        return self.tokens[split][self._places(split)[:, None] + torch.arange(self.options.prompt_tokens, device=self.device)]

    def sampling(self, *, max_new_tokens: int | None = None, temperature: float = 1.0) -> Sampling:
        """How completions of this task are drawn: they end at its end-of-text token, where it has one."""
        return Sampling(
            max_new_tokens or self.options.completion_tokens, temperature, eos_id=self.vocabulary.eos_id, pad_id=self.vocabulary.eos_id or 0
        )

    def _places(self, split: str) -> Tensor:
        """Where the windows and prompts of an evaluation begin: equally spaced over the split."""
        longest = max(self.window + 1, self.options.prompt_tokens + self.options.completion_tokens)
        last = len(self.tokens[split]) - longest
        count = self.options.evaluation_prompts
        return torch.arange(count, device=self.device) * last // max(1, count - 1)

    # How a model is judged

    def judge_language_model(self, model: nn.Module, split: str, *, teacher: nn.Module | None, final: bool) -> Judgement:
        """See `engine.metrics.language`: on text of the split, and on the model's own completions of its prompts. `final` adds the speed."""
        assert isinstance(model, CausalLM), f"{self.card.id} judges causal language models, got a {type(model).__name__}"
        assert teacher is None or isinstance(teacher, CausalLM), f"{self.card.id}: the teacher is a {type(teacher).__name__}"
        self._check_context(model)
        windows = self.splits[split].take(self._places(split))
        metrics = held_out_report(model, windows.inputs, windows.targets, teacher=teacher)
        rollouts = self.rollouts(model, split)
        tokens = tokens_of_rollouts(model, rollouts, teacher=teacher)
        metrics |= rollout_report(tokens, rollouts, eos_id=self.vocabulary.eos_id)
        metrics["parameters"] = float(parameter_count(model))
        tables = {"completions": self._completions(rollouts, tokens, split, teacher)}
        if final:
            speed = speed_report(model, self.prompts(split))
            metrics |= {"prefill_ms": speed["prefill_ms"], "token_ms": speed["token_ms"]}
            tables["cost"] = {"n": speed["rows"], "split": split, "device": speed["device"]}
            tables["speed"] = charts.rows("Speed of decoding", ("what", "value"), [[SPEED[name], value] for name, value in speed.items()])
            kept, cache_tables = kv_report(model, teacher=teacher)
            metrics |= kept
            tables |= cache_tables
        return Judgement(metrics, tables)

    def rollouts(self, model: CausalLM, split: str, *, count: int | None = None) -> RolloutBatch:
        """The model's completions of the fixed prompts, or of the first `count`, with a generator of the same seed every time."""
        prompts = self.prompts(split)[:count]
        generator = torch.Generator(self.device).manual_seed(derived_seed("evaluation", split))
        return generate(model, prompts, torch.ones_like(prompts), self.sampling(), generator)

    def _check_context(self, model: CausalLM) -> None:
        longest = self.options.prompt_tokens + self.options.completion_tokens
        if longest > model.positions:
            raise SpecError.at(
                "task_options.completion_tokens",
                f"must fit the model's context of {model.positions} tokens together with the prompt of {self.options.prompt_tokens}; "
                f"got {self.options.completion_tokens}.",
            )

    def _completions(self, rollouts: RolloutBatch, tokens: Mapping[str, Tensor], split: str, teacher: CausalLM | None) -> charts.ChartSpec:
        """The first prompts with what the model makes of them, colored by how far it is from the teacher at each token."""
        shown, distance = rollouts.take(slice(0, SHOWN)), tokens.get("acceptance")
        items: list[dict[str, Any]] = []
        theirs = self._texts_of_teacher(teacher, split) if teacher is not None else []
        for row in range(len(shown)):
            weights = None if distance is None else (1 - distance[row]).clamp(0, 1).tolist()
            items.append(self._item(shown, row, "student" if teacher is not None else "model", weights))
            items += theirs[row : row + 1]
        title = "The same prompts, continued"
        if distance is None:
            return charts.texts(title, items)
        note = "Darker: the next-token distributions of student and teacher are further apart at this place of the student's text."
        return charts.texts(title, items, scale="total variation distance", note=note)

    def _texts_of_teacher(self, teacher: CausalLM, split: str) -> list[dict[str, Any]]:
        """What the teacher makes of the prompts that are shown. `teacher` must not change between calls: it is asked once a split."""
        known = self._teacher_texts.setdefault(teacher, {})
        if split not in known:
            rollouts = self.rollouts(teacher, split, count=SHOWN)
            known[split] = [self._item(rollouts, row, "teacher", None) for row in range(len(rollouts))]
        return known[split]

    def _item(self, rollouts: RolloutBatch, row: int, label: str, weights: list[float] | None) -> dict[str, Any]:
        real = int(rollouts.completion_mask[row].sum())
        ids = rollouts.completion_ids[row, :real].tolist()
        prompt = rollouts.prompt_ids[row][rollouts.prompt_mask[row].bool()].tolist()
        item: dict[str, Any] = {
            "label": label,
            "prompt": self.vocabulary.decode(prompt),
            "text": self.vocabulary.decode(ids),
        }
        if weights is not None:
            item |= {"pieces": self.vocabulary.pieces(ids), "weights": [round(weight, 3) for weight in weights[:real]]}
        return item
