"""From a spec to a method that is ready to run: device, task, models, randomness, state."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from engine.errors import ModelError, SpecError
from engine.lineage import Source, sources_of
from engine.method import Method, MicroBatch, Position, RunContext
from engine.run.export import load_model
from engine.run.process_group import ProcessGroup, process_group_of
from engine.run.resume import length_of
from engine.run.state import modules_of, seal
from engine.seeds import derived_seed, seed_everything
from engine.spec import catalog
from engine.spec.cards import MethodCard, Needs
from engine.spec.epochs import steps_per_epoch
from engine.spec.run_spec import ModelRef, RunSpec
from engine.tasks.task import Task

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Assembly:
    """A run's parts, ready for the first step. `blueprint` is the student's builder, config and architecture, as model.json has them."""

    spec: RunSpec
    task: Task
    method: Method
    device: torch.device
    position: Position
    micro: MicroBatch
    blueprint: dict[str, Any]
    batch_size: int
    gradient_accumulation_steps: int
    process_group: ProcessGroup


def assemble(
    spec: RunSpec,
    models: Mapping[str, Path],
    *,
    method_class: type[Method] | None = None,
    task_class: type[Task] | None = None,
    log: Callable[[str], None],
    save_table: Callable[[str, Any], None],
    save_tensors: Callable[[str, Mapping[str, Tensor], Mapping[str, Any]], None],
) -> Assembly:
    """Builds everything that a spec names. The classes come from the catalog unless given.

    Raises SpecError for a model that was not handed over or a device that is not here, ModelError and DataError for what is damaged or missing.
    """
    method_class = method_class or catalog.load_method(spec.method)
    task_class = task_class or catalog.load_task(spec.task)
    process_group, device = process_group_of(spec.devices), device_of(spec)
    seed_everything(spec.seed)
    task = task_class(task_class.card.options.model_validate(spec.task_options), device)
    settings = method_class.card.settings.model_validate(spec.settings)

    student, blueprint, teachers, lineage = _models(spec, task, method_class.card, models, device)
    assert spec.budget is not None, "a parsed spec has a budget"
    rows = len(task.splits["train"]) if "train" in task.splits else 1
    batch_size = getattr(settings, "batch_size", None) or rows
    position, micro = Position(), MicroBatch()
    seed_everything(spec.seed)  # again: what training draws must not depend on how many numbers the models' initial weights took
    method = method_class(
        RunContext(
            task=task,
            settings=settings,
            student=student,
            teachers=teachers,
            budget=length_of(spec.budget, steps_per_epoch(rows, batch_size)),
            device=device,
            generator=torch.Generator(device).manual_seed(derived_seed(spec.seed, "method")),
            position=position,
            micro=micro,
            log=log,
            save_table=save_table,
            save_tensors=save_tensors,
            precision=DTYPES[spec.precision],
            student_blueprint=blueprint,
            lineage={field: sources for field, sources in lineage.items() if sources},
        )
    )
    method.build()
    seal(method)
    if process_group.size > 1 and not any(isinstance(module, nn.parallel.DistributedDataParallel) for module in modules_of(method)):
        raise SpecError.at("devices", f"{method.card.id} runs on one device; got {spec.devices}.")
    gradient_accumulation_steps = getattr(settings, "gradient_accumulation_steps", 1)
    return Assembly(spec, task, method, device, position, micro, blueprint, batch_size, gradient_accumulation_steps, process_group)


def device_of(spec: RunSpec) -> torch.device:
    """The device that a spec asks for: a GPU where there is one, unless it says cpu. Raises SpecError for cuda where there is none."""
    if spec.device == "cuda" and not torch.cuda.is_available():
        raise SpecError.at("device", "there is no CUDA device on this machine; choose auto or cpu.")
    if spec.device == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", torch.cuda.current_device())


def _models(
    spec: RunSpec, task: Task, card: MethodCard, models: Mapping[str, Path], device: torch.device
) -> tuple[nn.Module, dict[str, Any], tuple[nn.Module, ...], dict[str, tuple[Source, ...]]]:
    """The student in train mode, its blueprint, and the teachers as the card's access says, all on the device; and what each has read."""
    student_ref = spec.student or ModelRef(name=task.card.student)
    student, blueprint, sources = _open(student_ref, "student", card.student, spec, task, models, default_seed=spec.seed)
    teachers, lineage = [], {"student": sources}
    for index, ref in enumerate(spec.teachers):
        needs, own_seed = card.teachers, derived_seed(spec.seed, "teacher", index)
        assert needs is not None, "a parsed spec has teachers only where its method takes them"
        teacher, _, lineage[f"teachers.{index}"] = _open(ref, f"teachers.{index}", needs, spec, task, models, default_seed=own_seed)
        teachers.append(teacher.to(device))
    _set_access(teachers, card)
    return student.to(device).train(), blueprint, tuple(teachers), lineage


def _open(
    ref: ModelRef, field: str, needs: Needs, spec: RunSpec, task: Task, models: Mapping[str, Path], *, default_seed: int
) -> tuple[nn.Module, dict[str, Any], tuple[Source, ...]]:
    """A network by reference, on the CPU, its blueprint, and what it has read."""
    if ref.source == "builtin":
        architecture = task.card.architectures[ref.name]
        config = {**architecture.config, **ref.config}
        torch.manual_seed(default_seed if ref.init_seed is None else ref.init_seed)
        return task.new_model(ref.name, config), {"builder": architecture.builder, "config": config, "architecture": ref.name}, ()
    if ref.source == "hf":
        model, blueprint = task.open_hf(ref.name, field)
        return _with_finite_weights(model, ref, field), blueprint, (Source.unknown(str(ref)),)
    folder = models.get(str(ref))
    if folder is None:
        raise SpecError.at(field, f"no folder was given for {ref}; the command line takes it as --model {ref}=FOLDER.")
    try:
        model, meta = load_model(Path(folder), card=task.card, foreign=needs.foreign)
        if meta["kind"] not in needs.kinds:
            raise ModelError(f"The model at {folder} is a {meta['kind']!s:.40}; {spec.method} takes a {' or '.join(needs.kinds)}.")
    except ModelError as error:
        raise ModelError(f"{field}: {error}") from None
    return _with_finite_weights(model, ref, field), {key: meta[key] for key in ("builder", "config", "architecture")}, sources_of(meta)


def _with_finite_weights(model: nn.Module, ref: ModelRef, field: str) -> nn.Module:
    """Raises ModelError, naming the weight: what it would spoil later would be blamed on the run."""
    for name, parameter in model.named_parameters():
        if parameter.is_floating_point() and not bool(parameter.detach().isfinite().all()):
            raise ModelError(f"{field}: The weight {name} of {ref} has NaN or infinity in it; choose another model.")
    return model


def _set_access(teachers: list[nn.Module], card: MethodCard) -> None:
    """Eval mode and no gradient for the weights, so that no method can forget it, unless the card asks for teachers to train."""
    needs = card.teachers
    access = needs.access if needs is not None else "frozen"
    for teacher in teachers:
        if access == "trained":
            teacher.train()
        else:
            teacher.eval().requires_grad_(False)
