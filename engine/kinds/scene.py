"""A scene in space that can be looked at and lit anew."""

from engine.metrics import cards_scene
from engine.spec.cards import KindCard

card = KindCard(
    id="scene",
    order=7,
    title="scene",
    summary="A scene in space, with materials and light, that can be seen from other places and lit anew.",
    judge="engine.tasks.toy_scene.task:ToyScene.judge_scene",
    metrics=cards_scene.CARDS,
    headline=("relight_psnr", "relight_ssim", "albedo_error_scaled", "view_psnr", "mean_progress"),
    charts=("cameras", "relighting"),
)
