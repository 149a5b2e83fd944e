"""Distillation with and without the push, against fitting light and material to the photos directly."""

from collections.abc import Callable, Sequence
from typing import Any

from engine.evidence.experiment import Arm, Check, Claim, Evidence, Finding, Results, above, all_of, below


def arm(**settings: Any) -> Callable[[int], dict[str, Any]]:
    """400 steps of radiance and 600 of distillation."""
    return lambda seed: {
        "method": "progressive-radiance",
        "task": "toy-scene",
        "settings": settings,
        "seed": seed,
        "budget": {"steps": 600},
    }


def both(check: Callable[[str], Check]) -> Check:
    """The same for the arm with and the arm without the push."""
    return all_of(check("plain"), check("push"))


def exceeds(metric: str, other: str, arms: Sequence[str], *, by: float) -> Check:
    """mean(metric) > mean(other metric) + by, within each arm."""

    def check(results: Results) -> Finding:
        numbers, holds = [], True
        for name in arms:
            ours, theirs = results.mean(name, metric), results.mean(name, other)
            assert ours is not None and theirs is not None
            holds = holds and ours > theirs + by
            numbers.append(f"{name}: {metric} {ours:.4f} against {other} {theirs:.4f}")
        return Finding(holds, "; ".join(numbers))

    return check


evidence = Evidence(
    method="progressive-radiance",
    protocol="""
A unit sphere of 400 patches with colored albedo, mirror reflection and two lobes of light; patches with |z + 0.3| < 0.13 also glow, which no
physical image here can show. Twelve orthographic cameras of 32 × 32 pixels on a Fibonacci sphere give the photos; the test has six others on one turned by
1.3, and one other light. Each run first fits the radiance field in 400 full-batch Adam steps at 0.03, then takes 600: light 0.03, material 0.02,
progress 0.05 from 0.01, radiance 0.001; mean absolute error. The direct arm fits light and material to the photos with progress 1. A seed decides
the initial light and material. The held-out cameras and the held-out light are read once, at the end. Relighting is scored off the glowing patches with no
scale fitted.
""",
    arms=(
        Arm(id="direct", title="direct physical fit", spec=arm(progress="fixed", fixed_progress=1.0)),
        Arm(id="plain", title="PRD, no push", spec=arm(push=0.0)),
        Arm(id="push", title="PRD, push 0.01", spec=arm(push=0.01)),
    ),
    baseline="direct",
    metrics=(
        "relight_psnr",
        "relight_ssim",
        "albedo_error",
        "albedo_error_scaled",
        "view_psnr",
        "raw_psnr",
        "progress_modeled",
        "progress_unmodeled",
    ),
    claims=(
        Claim(
            "Relighting PSNR is above that of the direct fit by more than 2 dB, with and without the push.",
            both(lambda name: above("relight_psnr", name, "direct", by=2.0)),
        ),
        Claim(
            "Progress off the glowing patches exceeds that on them by more than 0.2, with and without the push.",
            exceeds("progress_modeled", "progress_unmodeled", ("plain", "push"), by=0.2),
        ),
        Claim(
            "The albedo error is below that of the direct fit, with and without the push.",
            both(lambda name: below("albedo_error", name, "direct")),
        ),
        Claim(
            "Novel views of the blend are at least as good as those of the radiance field alone, with and without the push.",
            exceeds("view_psnr", "raw_psnr", ("plain", "push"), by=-1e-9),
        ),
    ),
    notes="""
- Novel views of the direct fit are better here: it bakes the glow into each patch's albedo, which carries over to other cameras. The paper's claim on novel
  views is not made against it.
- Both arms of the push are reported and none is picked.
- In the direct arm the radiance field is fitted in the first stage and not used afterwards.
""",
    published="""
The specification's prototype, 3 seeds that agree to 0.2 dB. Relighting PSNR: direct 18.9, PRD 23.8, with push 24.8. Albedo error 0.155, 0.131, 0.071.
Progress on the glowing patches and elsewhere: 0.08 and 0.36 without push, 0.20 and 0.995 with it. Novel views: radiance alone 18.9, PRD 21.7, with
push 24.7, direct 41.3. The paper's own numbers are of full scenes and are not reproducible here.
""",
)
