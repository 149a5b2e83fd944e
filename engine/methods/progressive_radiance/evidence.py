"""Distillation with and without the push, against fitting light and material to the photos directly."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from engine.evidence.experiment import Arm, Claim, Evidence, higher, lower


def arm(**settings: Any) -> Callable[[int], dict[str, Any]]:
    """400 steps of radiance and 600 of distillation."""
    return lambda seed: {
        "method": "progressive-radiance",
        "task": "toy-scene",
        "settings": settings,
        "seed": seed,
        "budget": {"steps": 600},
    }


def at_picture_scale(name: str) -> Callable[[int, Mapping[str, Path]], Mapping[str, float | None]]:
    """The same scene relit, with the factor for each channel that brings its pictures closest to the truth: what is left of its error when
    nobody asks how bright the albedo is and how dark the light."""

    def measured(seed: int, folders: Mapping[str, Path]) -> Mapping[str, float | None]:
        import torch

        from engine.metrics.scenes import psnr, scale_to
        from engine.models.scene import SurfelScene
        from engine.run.export import load_model
        from engine.tasks.toy_scene.truth import Truth

        (scene, _), view = load_model(folders[name]), Truth().view("test")
        assert isinstance(scene, SurfelScene)
        with torch.no_grad():
            relit = scene.eval().render(view.pixels, view.other_light).physical[view.modeled]
        truth = view.relit[view.modeled]
        return {"relight_psnr": psnr(relit * scale_to(relit, truth), truth)}

    return measured


evidence = Evidence(
    method="progressive-radiance",
    protocol="""
A unit sphere of 400 patches with colored albedo, mirror reflection and two lobes of light; patches with |z + 0.3| < 0.13 also glow, which no
physical image here can show. Twelve orthographic cameras of 32 × 32 pixels on a Fibonacci sphere give the photos; the test has six others on one turned by
1.3, and one other light. Each run first fits the radiance field in 400 full-batch Adam steps at 0.03, then takes 600: light 0.03, material 0.02,
progress 0.05 from 0.01, radiance 0.001; mean absolute error. The direct arm fits light and material to the photos with progress 1. A seed decides
the initial light and material. The held-out cameras and the held-out light are read once, at the end. Relighting is scored off the glowing patches with no
scale fitted; the rows “at picture scale” are the same scenes, each channel of whose relit pictures is multiplied by the one factor that brings all of them
closest to the truth, because brighter material under darker light looks the same in the photos.
""",
    arms=(
        Arm(id="direct", title="direct physical fit", spec=arm(progress="fixed", fixed_progress=1.0)),
        Arm(id="plain", title="PRD, no push", spec=arm(push=0.0)),
        Arm(id="push", title="PRD, push 0.01", spec=arm(push=0.01)),
        Arm(id="direct-scaled", title="direct physical fit, at picture scale", measured=at_picture_scale("direct")),
        Arm(id="plain-scaled", title="PRD, no push, at picture scale", measured=at_picture_scale("plain")),
        Arm(id="push-scaled", title="PRD, push 0.01, at picture scale", measured=at_picture_scale("push")),
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
            higher("relight_psnr", "plain", "direct", margin=2.0),
            higher("relight_psnr", "push", "direct", margin=2.0),
        ),
        Claim(
            "With the push, so it is at picture scale, where a factor between material and light counts for nothing.",
            higher("relight_psnr", "push-scaled", "direct-scaled", margin=2.0),
        ),
        Claim("Without the push, so it is at picture scale.", higher("relight_psnr", "plain-scaled", "direct-scaled", margin=2.0)),
        Claim(
            "Progress off the glowing patches exceeds that on them by more than 0.2, with and without the push.",
            higher("progress_modeled", "plain", "plain", other_metric="progress_unmodeled", margin=0.2),
            higher("progress_modeled", "push", "push", other_metric="progress_unmodeled", margin=0.2),
        ),
        Claim(
            "The albedo error is below that of the direct fit, with and without the push.",
            lower("albedo_error", "plain", "direct"),
            lower("albedo_error", "push", "direct"),
        ),
        Claim("With the push, so it is after the best factor for each channel.", lower("albedo_error_scaled", "push", "direct")),
        Claim("Without the push, so it is after the best factor for each channel.", lower("albedo_error_scaled", "plain", "direct")),
        Claim(
            "Novel views of the blend are better than those of the radiance field alone, with and without the push.",
            higher("view_psnr", "plain", "plain", other_metric="raw_psnr"),
            higher("view_psnr", "push", "push", other_metric="raw_psnr"),
        ),
    ),
    notes="""
- Novel views of the direct fit are better here: it bakes the glow into each patch's albedo, which carries over to other cameras. The paper's claim on novel
  views is not made against it.
- Both arms of the push are reported and none is picked.
- Where no scale is fitted, most of the direct fit's error in relighting is one factor for each channel: its light has become brighter and its material
  darker than the truth, in red above all, which is the glow's color. The rows at picture scale leave that out of the comparison. Their three factors
  are fitted to the test's truth, so they say how alike the pictures are but for brightness, not how bright they would have to be.
- In the direct arm the radiance field is fitted in the first stage and not used afterwards.
""",
    published="""
The specification's prototype, 3 seeds that agree to 0.2 dB. Relighting PSNR: direct 18.9, PRD 23.8, with push 24.8. Albedo error 0.155, 0.131, 0.071.
Progress on the glowing patches and elsewhere: 0.08 and 0.36 without push, 0.20 and 0.995 with it. Novel views: radiance alone 18.9, PRD 21.7, with
push 24.7, direct 41.3. The paper's own numbers are of full scenes and are not reproducible here.
""",
)
