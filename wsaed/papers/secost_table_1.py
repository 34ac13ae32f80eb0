"""Table 1 of SeCoST as printed: WELS-Net's layers for an input of 1024 frames of 64 mel bins.

C stands for |C|, the number of classes. Spacing is made even, nothing else is changed.
Notebook: secost/table_1.ipynb.
"""

FRAMES, MELS, CLASSES = 1024, 64, 527
PARAMETERS = (
    14_677_711  # not printed: counted from the printed layers, with biases, for 527 classes
)

_3x3 = "3×3 conv, F: {}, P: 1, S: 1 → BN → ReLU"
_1x1 = "1×1 conv, F: {}, P: 0, S: 1 → BN → ReLU"

PAPER_TABLE_1 = (
    ("Input", "-", "1×1024×64"),
    ("B1", _3x3.format(64), "64×1024×64"),
    ("B1", _3x3.format(64), "64×1024×64"),
    ("B1", "4×4 pool, S: 4", "64×256×16"),
    ("B2", _3x3.format(128), "128×256×16"),
    ("B2", _3x3.format(128), "128×256×16"),
    ("B2", "2×2 pool, S: 2", "128×128×8"),
    ("B3", _3x3.format(256), "256×128×8"),
    ("B3", _3x3.format(256), "256×128×8"),
    ("B3", "2×2 pool, S: 2", "256×64×4"),
    ("B4", _3x3.format(512), "512×64×4"),
    ("B4", _3x3.format(512), "512×64×4"),
    ("B4", "2×2 pool, S: 2", "512×32×2"),
    ("L1", "3×2 conv, F: 2048, P: 0, S: 1 → BN → ReLU", "2048×30×1"),
    ("L2", _1x1.format(1024), "1024×30×1"),
    ("L3", _1x1.format(1024), "1024×30×1"),
    ("L4", _1x1.format("C"), "C×30×1"),
    ("P", "Global Average Pooling", "C×1"),
)


def printed(classes: int) -> list[tuple[str, str, str]]:
    """The printed rows (layer, parameters, output size) with |C| replaced by ``classes``."""

    def fill(text: str) -> str:
        return text.replace("F: C,", f"F: {classes},").replace("C×", f"{classes}×")

    return [(layer, fill(parameters), fill(size)) for layer, parameters, size in PAPER_TABLE_1]
