"""What a run's page shows of the experts, of the set, and of the outer loop."""

from typing import TYPE_CHECKING, Any

import torch

from engine.distilled_sets.matching import trajectory_errors
from engine.method import Diagnostics
from engine.methods.mtt import charts
from engine.methods.mtt.course import LOWEST_RATE
from engine.methods.mtt.experts import matched

if TYPE_CHECKING:
    from engine.methods.mtt.method import MTT


def of(method: "MTT") -> Diagnostics:
    """Numbers and pictures of a run so far."""
    s = method.settings
    metrics: dict[str, float | None] = {"expert_accuracy": float(matched(method, method.expert_accuracy).mean())}
    tables: dict[str, Any] = {}
    if method.experts.is_complete:
        tables["experts"] = charts.experts_table(method.experts, accuracies=method.expert_accuracy, seeds=method.seeds, matched=s.experts)
    if method.course.iterations:
        metrics |= course_numbers(method)
        tables |= course_charts(method)
        if s.held_out_seed is not None:
            errors = held_out_errors(method)
            if errors:
                # Where the matched starts end: later segments were never learned.
                known = max(1, (s.max_start_epoch + s.matched_epochs) // s.matched_epochs)
                metrics["trajectory_error"] = errors[min(known, len(errors)) - 1]
                tables["trajectory_error"] = charts.error_curve(errors, epochs=s.matched_epochs)
    for place, epoch in enumerate(s.flatness_epochs):
        loss, rise, largest = method.sharpness[:, place].mean(dim=0).tolist()
        metrics |= {f"expert_loss_{epoch}": loss, f"loss_rise_{epoch}": rise, f"loss_rise_max_{epoch}": largest}
    if s.flatness_epochs:
        seeds = method.seeds[: len(method.sharpness)]
        tables["sharpness"] = charts.sharpness_table(method.sharpness, epochs=s.flatness_epochs, seeds=seeds)
    return Diagnostics(metrics, tables)


def held_out_errors(method: "MTT") -> list[float]:
    """The accumulated trajectory error on the held-out expert, which is the last one."""
    s, product = method.settings, method.set
    return trajectory_errors(
        method.network,
        method.experts.trajectories[-1],
        product.images,
        product.labels,
        method.rate().detach(),
        steps=s.inner_steps,
        epochs=s.matched_epochs,
    )


def course_numbers(method: "MTT") -> dict[str, float | None]:
    """Numbers of the outer loop so far, and how far the pictures have gone."""
    center, spread = real_pixels(method)
    images = method.set.images.detach()
    far = (images - center).abs() > charts.WIDTH * spread
    memory = {"peak_memory": float(torch.cuda.max_memory_allocated(method.device))} if method.device.type == "cuda" else {}
    return {
        **method.course.numbers(),
        "image_change": float((images - method.initial).square().mean().sqrt()),
        "far_pixels": float(far.float().mean()),
        **memory,
    }


def course_charts(method: "MTT") -> dict[str, Any]:
    """Pictures of the set and of the outer loop so far."""
    center, spread = real_pixels(method)
    s, course, done = method.settings, method.course, method.course.iterations
    forms = {"initial": method.initial, "now": method.set.images.detach()}
    if method.set.last is not None:
        forms |= {"before averaging": method.set.last.detach()}
    return {
        "set_images": charts.image_grid(forms, before="initial", after="now", per_class=s.images_per_class, center=center, spread=spread),
        "set_pixels": charts.pixel_histogram(forms, center=center, spread=spread),
        "outer_loss": charts.loss_by_start(course.losses[:done].cpu(), course.starts[:done].cpu()),
        "start_epochs": charts.starts_drawn(course.starts[:done].cpu(), max_start=s.max_start_epoch),
        "learned_rate": charts.over_iterations(
            "Learned learning rate", course.rates[:done], y="learning rate", levels={"lowest": LOWEST_RATE}
        ),
    }


def real_pixels(method: "MTT") -> tuple[float, float]:
    """Mean and standard deviation of all pixels of the real rows, as networks see them."""
    real = method.train_split.inputs
    return float(real.mean()), float(real.std())
