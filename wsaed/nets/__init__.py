"""The papers' networks, one a file; each has ``build(spec, classes)``.

A net takes log-mel (batch, frames, mels) and gives probabilities over time and of the clip.
Notebooks: secost/method.ipynb, joint_at_aed/method.ipynb.
"""

import importlib
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

WEIGHTS = "net.safetensors"


def build(spec: dict, classes: int) -> torch.nn.Module:
    """The net that a run's spec names (a module of `wsaed.nets`), freshly initialised."""
    return importlib.import_module(f"wsaed.nets.{spec['net']['name']}").build(spec["net"], classes)


def initialised(spec: dict, classes: int, replicate: int, features) -> torch.nn.Module:
    """A net with the weights of (replicate, draw) and the training set's statistics per mel bin."""
    seeds = np.random.SeedSequence([replicate, spec.get("draw", 0), 1]).generate_state(1)
    torch.manual_seed(int(seeds[0]))
    net = build(spec, classes)
    sample = np.random.default_rng([replicate, 2]).permutation(len(features))[:1000]
    x = torch.as_tensor(features[np.sort(sample)]).float().cpu()
    if hasattr(net, "set_statistics"):
        net.set_statistics(x.mean((0, 1)), x.std((0, 1)))
    if hasattr(net, "fit_stand_in"):
        net.fit_stand_in(x)
    return net


def save(net: torch.nn.Module, folder: Path) -> None:
    """Write a net's weights and buffers into a run's folder."""
    save_file({k: v.cpu().contiguous() for k, v in net.state_dict().items()}, folder / WEIGHTS)


def trained(spec: dict, classes: int, folder: Path) -> torch.nn.Module:
    """The net of a finished run's folder, in eval mode."""
    net = build(spec, classes)
    net.load_state_dict(load_file(folder / WEIGHTS))
    return net.eval()
