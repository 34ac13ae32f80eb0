"""How fast the networks train, beside the machine's own rates and the ways not taken.

Part of ``python -m wsaed.bench``.
"""

import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy
from torch.utils.flop_counter import FlopCounterMode

from wsaed.features import FRONT_ENDS, FrontEnd
from wsaed.nets import lstm_student, wels_net

Row = tuple[str, str, float, str]  # part, what, value, unit


def race(times: int, *calls: Callable) -> list[float]:
    """Seconds that each call takes: the best of ``times``, after one that doesn't count.

    The calls take turns, so that whatever else the machine does hits all of them.
    """
    taken = [[] for _ in calls]
    for _ in range(times + 1):
        for mine, call in zip(taken, calls, strict=True):
            start = time.perf_counter()
            call()
            mine.append(time.perf_counter() - start)
    return [min(mine[1:]) for mine in taken]


@contextmanager
def threads(count: int):
    """torch, and what libraries numpy calls, with ``count`` threads."""
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        with threadpool_limits(count):
            yield
    finally:
        torch.set_num_threads(before)


def networks(quick: bool) -> Iterator[Row]:
    """WELS-Net forward and backward, against the matrix-multiply rate of the same device."""
    gpu = torch.cuda.is_available()
    small = FRONT_ENDS["secost_50ms"]
    yield from network("WELS-Net 1/8, 200 x 64", 0.125, 60, small, "cpu", 32, quick)
    full = ("WELS-Net, table 1", 1.0, 527, FRONT_ENDS["secost"])
    yield from network(*full, "cpu", 1 if quick else 4, quick)
    if gpu:
        yield from network(*full, "cuda", 64, quick)
        yield from network(*full, "cuda", 64, quick, torch.bfloat16)


def network(
    part: str,
    width: float,
    classes: int,
    front_end: FrontEnd,
    device: str,
    batch: int,
    quick: bool,
    dtype: torch.dtype = torch.float32,
) -> Iterator[Row]:
    """Clips a second, counted GFLOP a clip, and that as a share of two rates of the device.

    A matrix product is the usual yardstick, but on some CPUs torch's is not the fastest code there
    is (its share can pass 100 %); one large 3x3 convolution is the other.
    """
    net, pass_through = forward_and_backward(width, classes, front_end, device, batch, dtype)
    step = partial(pass_through, net)
    tf32 = torch.backends.cudnn.allow_tf32
    # else convolutions would round to 10 bits and the matrix product they are held to would not
    torch.backends.cudnn.allow_tf32 = False

    try:
        with FlopCounterMode(display=False) as counter:
            step()
        sizes = (8192,) if device == "cuda" else (1024, 2048)
        known = [("a matrix product", *multiplication(n, device, dtype)) for n in sizes]
        conv = convolution(64 if device == "cuda" else 4, device, dtype)
        known.append(("a 3x3 convolution", *conv))
        known *= 3  # a round: short calls are what a busy machine distorts most
        seconds, *taken = race(3 if quick else 8, step, *(call for _, call, _ in known))
    finally:
        torch.backends.cudnn.allow_tf32 = tf32
    flop = counter.get_total_flops()
    rates = {}
    for (name, _, work), t in zip(known, taken, strict=True):
        rates[name] = max(rates.get(name, 0), work / t)
    kind = str(dtype).removeprefix("torch.")
    place = f"{torch.get_num_threads()} threads" if device == "cpu" else "cuda"
    part = f"{part}, {place}, {kind}"
    yield part, f"forward and backward, batch {batch}", batch / seconds, "clips/s"
    yield part, "counted, forward and backward", flop / batch / 1e9, "GFLOP/clip"
    for name, rate in rates.items():
        yield part, f"{name} reaches", rate / 1e9, "GFLOP/s"
        yield part, f"the network, of {name}'s", 100 * flop / seconds / rate, "%"


def forward_and_backward(
    width: float,
    classes: int,
    front_end: FrontEnd,
    device: str,
    batch: int,
    dtype: torch.dtype = torch.float32,
) -> tuple[nn.Module, Callable[[nn.Module], None]]:
    """A WELS-Net, and ``step(net)``: one pass of a made batch through it and back."""
    torch.manual_seed(0)
    net = wels_net.build({"name": "wels_net", "width": width}, classes).to(device).train()
    x = torch.randn(batch, front_end.frames, front_end.mels, device=device)
    y = (torch.rand(batch, classes, device=device) < 0.05).float()

    def step(net: nn.Module):
        net.zero_grad(set_to_none=True)
        with torch.autocast(device, dtype, enabled=dtype != torch.float32):
            _, p = net(x)
        binary_cross_entropy(p.float(), y).backward()
        if device == "cuda":
            torch.cuda.synchronize()

    return net, step


def multiplication(n: int, device: str, dtype: torch.dtype) -> tuple[Callable, float]:
    """A product of two n x n matrices, to time, and its FLOP."""
    a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))

    def multiply():
        torch.mm(a, b)
        if device == "cuda":
            torch.cuda.synchronize()

    return multiply, 2 * n**3


def convolution(batch: int, device: str, dtype: torch.dtype) -> tuple[Callable, float]:
    """A 3x3 convolution of 256 channels over 64 x 16, to time, and its FLOP."""
    x, w = torch.randn(batch, 256, 64, 16), torch.randn(256, 256, 3, 3)
    x, w = (v.to(device, dtype, memory_format=torch.channels_last) for v in (x, w))

    def convolve():
        torch.conv2d(x, w, padding=1)
        if device == "cuda":
            torch.cuda.synchronize()

    return convolve, 2 * x.numel() * 256 * 9


def compiled(quick: bool) -> Iterator[Row]:
    """WELS-Net under torch.compile against without, one thread, as a laptop run trains it.

    Training does not compile: what it gains over a run of half a minute is less than it costs.
    """
    part = "torch.compile, WELS-Net 1/8, batch 32, one thread"
    if not shutil.which(os.environ.get("CXX", "g++")):
        yield part, "no compiler here", float("nan"), ""
        return
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # warns without a GPU
    net, step = forward_and_backward(0.125, 60, FRONT_ENDS["secost_50ms"], "cpu", 32)
    with threads(1):
        fast = torch.compile(net)
        start = time.perf_counter()
        step(fast)
        first = time.perf_counter() - start
        plain, after = race(3 if quick else 8, partial(step, net), partial(step, fast))
    yield part, "as it is", 1e3 * plain, "ms/step"
    yield part, "compiled", 1e3 * after, "ms/step"
    yield part, "the first step, with compiling", first, "s"


def students(quick: bool) -> Iterator[Row]:
    """Replicates of the shallow student on one core: one after the other, and stacked in one LSTM.

    A run has a core of its own; whether several runs had better share a batched LSTM is decided
    by this ratio.
    """
    count, front_end = 2 if quick else 8, FRONT_ENDS["lstm_40ms"]
    torch.manual_seed(0)
    spec = {"name": "lstm_student", "width": 0.25, "mels": front_end.mels}
    nets = [lstm_student.build(spec, 10).lstm for _ in range(count)]
    stacked = {
        name: torch.stack([dict(n.named_parameters())[name].detach() for n in nets])
        for name, _ in nets[0].named_parameters()
    }
    for w in stacked.values():
        w.requires_grad_()
    x = torch.randn(count, 16, front_end.frames, front_end.mels)

    def apart():
        return torch.stack([net(clips)[0] for net, clips in zip(nets, x, strict=True)])

    together = partial(stacked_lstm, stacked, x)
    with threads(1):
        one, all_ = race(
            2 if quick else 5, *(lambda f=f: f().sum().backward() for f in (apart, together))
        )
        difference = (apart() - together()).abs().max().item()
    part = f"{count} shallow students, 64 units, batch 16 each, one thread"
    yield part, "one after the other", count * 16 / one, "clips/s"
    yield part, "stacked in one batched LSTM", count * 16 / all_, "clips/s"
    yield part, "largest difference", difference, ""


def stacked_lstm(w: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """Outputs (replicates, batch, frames, units) of LSTMs whose weights are stacked in ``w``.

    The names are torch.nn.LSTM's, and so is the order of its gates: i, f, g, o.
    """
    for layer in range(len(w) // 4):
        W_x, W_h, b_x, b_h = (
            w[f"{kind}_l{layer}"] for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        gates = torch.einsum("rbtd,rud->trbu", x, W_x) + (b_x + b_h)[:, None]
        h = c = x.new_zeros(*x.shape[:2], W_h.shape[2])
        outputs = []
        for frame in gates:
            i, f, g, o = torch.baddbmm(frame, h, W_h.mT).chunk(4, 2)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            outputs.append(h)
        x = torch.stack(outputs, 2)
    return x
