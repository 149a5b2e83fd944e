"""A sphere whose material and light are to be found from photos."""

from engine.spec.cards import Architecture, TaskCard, TaskOptions


class Options(TaskOptions):
    """The scene is one and the same."""


card = TaskCard(
    id="toy-scene",
    version=1,
    title="Toy scene",
    summary="Twelve photos of 32×32 pixels of a colored, glossy sphere with a glowing ring that no physical model here explains: find material and light.",
    kind="scene",
    options=Options,
    input_shape=(3, 32, 32),
    classes=None,
    train_rows=0,
    architectures={
        "surfels-400": Architecture(
            "surfel_scene",
            {"patches": 400, "height": 16, "width": 32, "start": 0.01, "fixed_progress": None},
            "400 patches with a view-dependent color, albedo, reflectivity and progress, and a light of 16×32 directions.",
        )
    },
    student="surfels-400",
    headline=("relight_psnr", "relight_ssim", "albedo_error_scaled", "view_psnr", "mean_progress"),
)
