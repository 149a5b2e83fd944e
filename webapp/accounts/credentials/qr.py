"""A text as a QR code."""

import segno


def drawn(text: str) -> str:
    """The code as the data address of an SVG picture, dark on light in every theme, for that is what cameras read."""
    address: str = segno.make(text, error="m").svg_data_uri(scale=5, border=3, dark="#000", light="#fff")
    return address
