"""Pictures for pages: tensors as PNG in `data:` addresses, small enough to travel in a table."""

import base64
import io

from PIL import Image
from torch import Tensor

SMALL = 48
"""Height in pixels below which a picture is drawn larger, by whole factors, so that single pixels can be seen."""


def png(picture: Tensor) -> str:
    """(height, width) or (channels, height, width) with 1 or 3 channels, values 0…1 (others are clamped) → `data:image/png;base64,…`."""
    plane = picture.detach().float().cpu().clamp(0, 1).mul(255).round().byte()
    if plane.dim() == 3:
        plane = plane[0] if plane.shape[0] == 1 else plane.permute(1, 2, 0)
    image = Image.fromarray(plane.numpy())
    factor = max(1, SMALL // image.height)
    if factor > 1:
        image = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
