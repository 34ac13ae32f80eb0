"""The one training step and the one prediction, in plain torch.

An algorithm is its ``losses(net, batch)`` and its ``batches(epoch)``. What is random draws from
(seed, epoch), so a checkpoint holds no generator state and a resumed run ends in the same numbers.
Notebook: secost/method.ipynb trains with it.
"""

import copy
import os
import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from wsaed.files import first_line, whole

WARM_UP = 0.25  # share of the training in which one cycle's rate rises
CHECKPOINT = "checkpoint.pt"  # in a run's folder, while it trains


def device() -> torch.device:
    """DEVICE where it is set, else the CPU; DEVICE=cuda under torchrun is the rank's own GPU."""
    name = os.environ.get("DEVICE") or "cpu"
    if name == "cuda" and "LOCAL_RANK" in os.environ:
        name = f"cuda:{os.environ['LOCAL_RANK']}"
    return torch.device(name)


def rank_and_world() -> tuple[int, int]:
    """(rank, number of processes); joins torchrun's group when its variables are set."""
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        return 0, 1
    if not dist.is_initialized():
        dist.init_process_group("nccl" if device().type == "cuda" else "gloo")
    return dist.get_rank(), dist.get_world_size()


def precision():
    """bf16 autocast on a GPU; on the CPU full precision, so that machines agree."""
    if device().type == "cuda" and os.environ.get("DETERMINISTIC") != "1":
        return torch.autocast("cuda", torch.bfloat16)
    return nullcontext()


def shuffled(count: int, batch_size: int, seed: int, epoch: int) -> list[np.ndarray]:
    """The epoch's batches of row numbers: a permutation from (seed, epoch), cut in pieces.

    Under torchrun each process takes its own slice of every batch. A last batch of one clip
    joins the one before, because batch norm can't train on a single value.
    """
    order = np.random.default_rng([seed, epoch]).permutation(count)
    cuts = list(range(batch_size, count, batch_size))
    if cuts and count - cuts[-1] == 1:
        cuts.pop()
    rank, world = rank_and_world()
    return [np.array_split(piece, world)[rank] for piece in np.split(order, cuts)]


def one_cycle(progress: float, warm_up: float = WARM_UP) -> float:
    """Learning-rate factor in (0, 1] at ``progress`` in [0, 1): a linear rise, a cosine fall."""
    if progress < warm_up:
        return 0.04 + 0.96 * progress / warm_up
    return 0.5 * (1 + float(np.cos(np.pi * (progress - warm_up) / (1 - warm_up))))


def fit(
    plain: nn.Module,
    losses: Callable,
    batches: Callable[[int], Iterable],
    budget: dict,
    *,
    seed: int,
    folder: Path | None = None,
    tell: Callable[[dict], None] = lambda row: None,
    schedule: Callable[[float], float] | None = None,
    betas: tuple[float, float] = (0.9, 0.999),
    after: Callable = lambda batch: None,
    beside: nn.Module | None = None,
    validate: Callable[[], float] | None = None,
    trunk: nn.Module | None = None,
) -> list[dict]:
    """Train ``plain`` by Adam and give one row an epoch: the means of what ``losses`` returned.

    losses(net, batch) gives a dict of 0-dim tensors, of which "loss" is minimised; its net is
    ``plain``, or that in torchrun's wrapping. ``after(batch)`` runs behind every step.
    budget: "epochs" and "learning_rate", which ``schedule(progress in [0, 1))`` scales.
    validate() scores ``plain`` after every epoch, "validation" in its row: the weights of the
    best epoch, the first among equals, are what is left at the end. ``trunk``: the row has, for
    each term of the loss, the norm of its gradient there on the epoch's first batch, "term'".
    ``folder`` keeps a checkpoint, written at epoch ends, at most one every CHECKPOINT_SECONDS
    (60), and resumed from exactly; it holds the weights of ``beside``, too. Stops with SystemExit
    at an epoch's end when the parent process has died.
    """
    net = plain = plain.to(device())
    if rank_and_world()[1] > 1:  # averages the gradients of torchrun's processes
        ids = [device().index] if device().type == "cuda" else None
        net = nn.parallel.DistributedDataParallel(plain, device_ids=ids)
    learned = [weight for weight in net.parameters() if weight.requires_grad]
    adam = torch.optim.Adam(learned, budget["learning_rate"], betas=betas, fused=True)
    modules = {"net": net} | ({"beside": beside} if beside is not None else {})
    modules |= {"best": copy.deepcopy(plain)} if validate else {}
    parent, rows, first = os.getppid(), [], 0
    checkpoint, epochs = folder and folder / CHECKPOINT, budget["epochs"]
    if checkpoint and checkpoint.exists():
        first, rows = _resume(checkpoint, modules, adam)
    saved = time.monotonic()
    for epoch in range(first, epochs):
        torch.manual_seed(int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0]))
        for module in modules.values():
            module.train()
        todo, sums, slopes = list(batches(epoch)), {}, {}
        for i, batch in enumerate(todo):
            if schedule:
                progress = (epoch + i / len(todo)) / epochs
                adam.param_groups[0]["lr"] = budget["learning_rate"] * schedule(progress)
            found = losses(net, batch)
            if i == 0 and trunk is not None:
                slopes = gradient_norms(found, [*trunk.parameters()])
            adam.zero_grad(set_to_none=True)
            found["loss"].backward()
            adam.step()
            after(batch)
            for key, value in found.items():
                sums[key] = sums.get(key, 0) + torch.as_tensor(value).detach()
        taken = (rows[-1]["steps"] if rows else 0) + len(todo)
        means = {k: float(v) / len(todo) for k, v in sums.items()}
        rows.append({"epoch": epoch + 1, "steps": taken} | means | slopes)
        if validate:
            score = validate()
            if score > max((row["validation"] for row in rows[:-1]), default=-np.inf):
                modules["best"].load_state_dict(plain.state_dict())
            rows[-1]["validation"] = score
        tell(rows[-1])
        every = float(os.environ.get("CHECKPOINT_SECONDS", 60))
        if checkpoint and epoch + 1 < epochs and time.monotonic() - saved >= every:
            _save(checkpoint, modules, adam, epoch + 1, rows)
            saved = time.monotonic()
        if os.getppid() != parent:
            raise SystemExit("stopped: the process that asked for this run has ended")
    if validate and rows:
        plain.load_state_dict(modules["best"].state_dict())
    return rows


def gradient_norms(terms: dict[str, torch.Tensor], weights: list) -> dict[str, float]:
    """{"term'": Euclidean norm of the term's gradient by the weights}, of each but the "loss"."""
    found = {}
    for name, term in terms.items():
        if name != "loss" and torch.is_tensor(term) and term.requires_grad:
            slopes = torch.autograd.grad(term, weights, retain_graph=True, allow_unused=True)
            norms = [g.float().norm() for g in slopes if g is not None]
            found[f"{name}'"] = float(torch.stack(norms).norm()) if norms else 0.0
    return found


def run(plain, losses, batches, spec: dict, replicate: int, folder: Path, tell, **options) -> dict:
    """`fit` as a paper's run: by spec["budget"], on the replicate's seed; its curves.

    options: of `fit`; the schedule is one cycle unless they say otherwise. Gives "curves", of
    four digits an epoch: "loss", its terms, their gradients' norms, "validation"; "steps", how
    many it took; and with validation "best_epoch", from 1.
    """
    schedule = partial(one_cycle, warm_up=spec["budget"].get("warm_up", WARM_UP))
    options = {"schedule": schedule, "seed": replicate, "folder": folder, "tell": tell} | options
    rows = fit(plain, losses, batches, spec["budget"], **options)
    names = [name for name in rows[-1] if name not in ("epoch", "steps")]
    found = {"curves": {k: [float(f"{row.get(k, 0):.4g}") for row in rows] for k in names}}
    found["steps"] = rows[-1]["steps"]
    if "validation" in names:
        found["best_epoch"] = 1 + int(np.argmax([row["validation"] for row in rows]))
    return found


def tagger(net, loss: Callable, features, target, spec: dict, replicate: int, *where, **options):
    """`run` of a net whose clip probabilities learn the target (clips, ...) by ``loss``.

    loss(p, target's rows) gives the loss, or a dict of it and its terms. features: as `resident`
    gives them; where: the run's folder and ``tell``; options: of `fit`.
    """

    def losses(net, batch):
        x, rows = batch
        with precision():
            p = net(x)[1].float()
        found = loss(p, target[rows])
        return found if isinstance(found, dict) else {"loss": found}

    def batches(epoch):
        rows = shuffled(len(target), spec["budget"]["batch_size"], replicate, epoch)
        return rows_of(features, rows)

    return run(net, losses, batches, spec, replicate, *where, **options)


def on_device(values: np.ndarray) -> torch.Tensor:
    """An array as a tensor on the device of training."""
    return torch.from_numpy(values).to(device())


def _save(path: Path, modules: dict, adam, epoch: int, rows: list[dict]) -> None:
    if rank_and_world()[0]:
        return
    state = {"epoch": epoch, "rows": rows, "adam": adam.state_dict()}
    state["modules"] = {name: module.state_dict() for name, module in modules.items()}
    with whole(path) as partial:
        torch.save(state, partial)


def _resume(path: Path, modules: dict, adam) -> tuple[int, list[dict]]:
    state = torch.load(path, map_location=device(), weights_only=True)
    try:
        for name, module in modules.items():
            module.load_state_dict(state["modules"][name])
        adam.load_state_dict(state["adam"])
    except (KeyError, ValueError, RuntimeError) as error:
        said = f"{path}: a checkpoint of another shape ({first_line(error)}); delete it"
        raise ValueError(said) from None
    return state["epoch"], state["rows"]


def predict(net: nn.Module, features, answer: Callable | None = None, batch_size: int = 64):
    """What a net says of all clips in eval mode, float32 arrays in the clips' order.

    answer(x, rows) gives a tuple of tensors, its rows in order, for log-mel x of the clips
    ``rows``; by default it is the net's own call.
    """
    answer = answer or (lambda x, rows: net(x))
    batches = np.array_split(np.arange(len(features)), max(1, len(features) // batch_size))
    net.eval()
    found = []
    with torch.inference_mode(), precision():
        for rows, (x, _) in zip(batches, rows_of(features, batches), strict=True):
            found.append([part.float().cpu().numpy() for part in answer(x, rows)])
    return tuple(np.concatenate(parts) for parts in zip(*found, strict=True))


IN_MEMORY = 4 << 30  # bytes of features that are kept on the device whole


def rows_of(features, batches: list[np.ndarray]) -> Iterable[tuple[torch.Tensor, torch.Tensor]]:
    """(features, row numbers) of each batch, as float32 on the device.

    ``features`` is what `resident` gave: a tensor that already lies on the device, or
    memory-mapped shards, which workers read ahead.
    """
    if isinstance(features, torch.Tensor):
        for rows in batches:
            index = torch.as_tensor(rows, device=features.device)
            yield features[index].float(), index
        return
    ahead = {"num_workers": min(4, os.cpu_count() or 1), "pin_memory": device().type == "cuda"}
    reader = torch.utils.data.DataLoader(features, sampler=batches, batch_size=None, **ahead)
    for x, rows in zip(reader, batches, strict=True):
        yield x.to(device(), non_blocking=True).float(), torch.as_tensor(rows, device=device())


def resident(features):
    """The features as one tensor on the device where they fit, else the shards as they are."""
    if np.prod(features.shape, dtype=np.int64) * 2 > IN_MEMORY:
        return features
    return on_device(features[:])
