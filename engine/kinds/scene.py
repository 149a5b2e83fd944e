"""A scene in space that can be looked at and lit anew."""

from engine.spec.cards import KindCard, MetricCard

CARDS: tuple[MetricCard, ...] = (
    MetricCard(
        "relight_psnr",
        "Relighting PSNR",
        "higher",
        "The physical image alone under a light that was never seen, at held-out cameras, where the true scene has nothing that the model lacks.",
        unit="dB",
        format=".2f",
    ),
    MetricCard("relight_ssim", "Relighting SSIM", "higher", "Structural similarity of the same pictures: at most 1."),
    MetricCard("view_psnr", "Novel-view PSNR", "higher", "The image as it is shown, at held-out cameras.", unit="dB", format=".2f"),
    MetricCard("view_ssim", "Novel-view SSIM", "higher", "Structural similarity of the same pictures: at most 1."),
    MetricCard(
        "raw_psnr",
        "PSNR of the radiance field",
        "higher",
        "The radiance field's image alone, at held-out cameras.",
        unit="dB",
        format=".2f",
    ),
    MetricCard(
        "physical_psnr", "PSNR of the physical image", "higher", "The physical image alone, at held-out cameras.", unit="dB", format=".2f"
    ),
    MetricCard("albedo_error", "Albedo error", "lower", "Mean absolute error of the patches' albedo, as it is."),
    MetricCard(
        "albedo_error_scaled",
        "Albedo error, scaled",
        "lower",
        "The same with the best factor for each channel, since brighter light and darker material look alike.",
        short="Albedo, scaled",
    ),
    MetricCard("environment_error", "Light error", "lower", "Mean absolute error of the environment light over all directions."),
    MetricCard("mean_progress", "Progress", None, "Mean over patches of the physical image's share."),
    MetricCard("progress_modeled", "Progress, modeled", "higher", "Mean progress of the patches that the physical model can explain."),
    MetricCard("progress_unmodeled", "Progress, unmodeled", "lower", "Mean progress of the patches that it can't: those that glow."),
    MetricCard("albedo_saturated", "Saturated albedo", "lower", "Share of the albedo's numbers below 0.02 or above 0.98."),
)

card = KindCard(
    id="scene",
    order=7,
    title="scene",
    summary="A scene in space, with materials and light, that can be seen from other places and lit anew.",
    judge="engine.tasks.toy_scene.task:ToyScene.judge_scene",
    metrics=CARDS,
    headline=("relight_psnr", "relight_ssim", "albedo_error_scaled", "view_psnr", "mean_progress"),
    charts=("cameras", "relighting"),
)
