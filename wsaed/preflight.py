"""Whether a machine is ready, in one line and less than a minute: ``python -m wsaed.preflight``.

It needs neither make nor the environment, and any Python that is left will do.
"""

import io
import os
import shutil
import sys
import tempfile
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[1]
HERE = (ROOT / ".venv/bin/python").exists() and sys.prefix == sys.base_prefix
ENVIRONMENT = "call .venv/bin/python -m wsaed.preflight" if HERE else "do make env"


def python():
    if not (3, 11) <= sys.version_info[:2] < (3, 14):
        found = "this is {}.{}".format(*sys.version_info)
        raise OSError(f"{found}: install 3.11, 3.12 or 3.13, then {ENVIRONMENT}")


def packages():
    """Those of the lock that every machine has, and wsaed itself, which kernels import."""
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    pins = [line.split("==") for line in lines if "==" in line and ";" not in line]
    for name, version in [*pins, ("wsaed", "")]:
        found = metadata.version(name)
        if version not in ("", found.partition("+")[0]):
            raise ImportError(f"{name} is {found}, not {version}")


def room():
    """A cache to write to, with a gigabyte free; so much memory, too, as a session may take."""
    import psutil

    from wsaed.files import cache_root, on_disk

    with on_disk(cache_root()):
        cache_root().mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=cache_root()).close()
    free = {"under " + str(cache_root()): shutil.disk_usage(cache_root()).free}
    free["of memory"] = psutil.virtual_memory().available
    for where, size in free.items():
        if size < 1e9:
            raise OSError(f"{size / 1e9:.1f} GB free {where}: make that one or more")


def scene():
    """Made, heard by a network's ears, drawn; the first picture on a machine looks for fonts."""
    from matplotlib.figure import Figure

    from wsaed import corpora
    from wsaed.features import FRONT_ENDS, log_mel

    sizes = dict.fromkeys(("weak", "unlabelled", "validation", "test"), 0)
    corpus = corpora.load({"name": "soundscapes", "shape": "domestic", "strong": 1, **sizes}, 0)
    figure = Figure()
    seen = log_mel(corpus["strong"].waveform(0), FRONT_ENDS["secost_40ms"]).astype(float)
    figure.subplots().imshow(seen)
    figure.savefig(io.BytesIO(), format="png")


def lab():
    import wsaed.lab  # noqa: F401


def fault():
    """The first thing that is missing, and what to do; "" where a machine is ready."""
    for check in (python, packages, room, scene, lab):
        try:
            check()
        except Exception as error:
            said = f"{check.__name__}: {error or repr(error)}".splitlines()[0]
            return f"{said}: {ENVIRONMENT}" if isinstance(error, ImportError) else said
    return ""


if __name__ == "__main__":
    os.environ["HEADLESS"] = "1"
    said = fault()
    print(f"not ready: {said}" if said else "ready")
    sys.exit(bool(said))
