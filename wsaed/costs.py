"""What a net costs to run: parameters, multiply-adds and CPU time of one clip.

Notebook: shallow_student/table_1.ipynb.
"""

import logging
from collections.abc import Callable
from math import prod

import torch
from torch.utils.flop_counter import FlopCounterMode

from wsaed.nets import parameter_count


def of_clip(net: torch.nn.Module, front_end) -> dict[str, int]:
    """{"parameters", "multiply_adds"} of a net on the CPU that hears one clip; of a pair's student.

    front_end: of `wsaed.features`, whose own work is not counted.
    """
    net, clip = getattr(net, "student", net), torch.zeros(1, front_end.frames, front_end.mels)
    return {"parameters": parameter_count(net), "multiply_adds": multiply_adds(net, clip)}


def multiply_adds(net: torch.nn.Module, x: torch.Tensor) -> int:
    """Multiply-adds of one forward pass of ``x`` (batch, frames, mels), on the CPU.

    Counted are the products of matrices and the convolutions; biases, activations, pools and the
    softmax are not. torch counts all but the LSTM's fused layers, for which `lstm_flops` stands.
    """
    fused = {torch.ops.aten.mkldnn_rnn_layer: lstm_flops}
    with torch.inference_mode(), FlopCounterMode(display=False, custom_mapping=fused) as counter:
        net(x)
    return counter.get_total_flops() // 2


def lstm_flops(x, weight_ih, weight_hh, *_, **__) -> int:
    """Twice the multiply-adds of one LSTM layer in one direction, from the shapes of its inputs.

    x: (batch, steps, inputs), in either order; a step uses each of the 4h (inputs + h) weights
    once.
    """
    return 2 * x[0] * x[1] * (prod(weight_ih) + prod(weight_hh))


def latency(call: Callable, seconds: float = 0.2) -> float:
    """Median seconds that ``call()`` takes with one thread, measured for about ``seconds``."""
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # warns without a GPU
    from torch.utils.benchmark import Timer

    timer = Timer("call()", globals={"call": call}, num_threads=1)
    with torch.inference_mode():
        return timer.blocked_autorange(min_run_time=seconds).median
