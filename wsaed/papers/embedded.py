"""What a spec says of the embedded corpus beyond its sizes: its shape, and whose sounds it has."""

import os
from pathlib import Path


def embedded(shape: str, **more) -> dict:
    """``shape`` and ``bank``, the name of the environment's folder BANK, or None without one."""
    bank = os.environ.get("BANK")
    return {"shape": shape, "bank": Path(bank).name if bank else None} | more
