"""Every network of every paper: shapes, probabilities, learning, files, errors of one line."""

from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import CASES, refused

from wsaed import nets
from wsaed.features import FRONT_ENDS, FrontEnd
from wsaed.tsd.nets import DetectionNet

SECOST, TALNET = "secost.net:WelsNet", "secost.rivals:TalNet"
TSD, CONDITIONAL = "tsd.nets:DetectionNet", "tsd.conditional:Conditional"
NETS, AT_THE_PAPERS_RATE = CASES["nets"], CASES["nets_at_the_papers_rate"]
each = pytest.mark.parametrize("row", NETS, ids=lambda row: f"{row[0]}-{row[3]}")


def made(row, **changes):
    """A narrow net of seven classes, its spec, and noise as log-mel of its front end."""
    front_end, settings = FRONT_ENDS[row[2]], row[1] | changes
    spec = {"net": {"name": row[0], "width": 0.05, "mels": front_end.mels} | settings}
    net, mels = nets.build(spec, 7), spec["net"]["mels"]
    if hasattr(net, "fit_stand_in"):
        net.components[0] = 1  # as if fitted, which takes seconds
    else:
        net.set_statistics(torch.linspace(-1, 1, mels), torch.linspace(1, 2, mels))
    return net, spec, torch.randn(4, front_end.frames, mels)


def said(net, x):
    """What a net, or each of a pair that trains, says: (steps' and clips' probabilities)."""
    if isinstance(net, DetectionNet):  # asked for one target a clip
        p, _ = net(x, torch.ones(len(x), 128), torch.arange(len(x)))
        return [(p[..., None], p.mean(1, keepdim=True))]
    found = net(x)
    return [found] if torch.is_tensor(found[0]) else [one[:2] for one in found]


@pytest.mark.parametrize("row", NETS + AT_THE_PAPERS_RATE, ids=lambda row: f"{row[0]}-{row[3]}")
def test_shapes_at_any_number_of_mels_and_the_rate_of_labels(row):
    front_end = FRONT_ENDS[row[2]]
    for mels in (front_end.mels, 128):
        net, _, x = made(row, mels=mels)
        ((p, clip),) = said(net.eval(), x)
        classes = 1 if row[0] == TSD else 7
        assert p.shape == (4, row[3], classes) and clip.shape == (4, classes)
        for wrong, training in product((x[:, :, 1:], x[:, :0], x[0]), (True, False)):
            with refused(rf"^input must be \(batch, frames, {mels}\)"):
                said(net.train(training), wrong)
    if row[0] != SECOST:  # labels are made for seconds times rate frames; its segments overlap
        assert round(net.frames_per_second(front_end) * front_end.seconds) == row[3]


@each
def test_it_learns_gives_probabilities_and_is_saved(row, tmp_path):
    net, spec, x = made(row)
    y, losses = (torch.rand(4, 7) < 0.3).float(), []
    # a pair's W_t and W_s serve distillation alone
    named = net.named_parameters()
    learned = [p for name, p in named if p.requires_grad and name not in ("W_t", "W_s")]
    adam = torch.optim.Adam(learned, 1e-2)
    for _ in range(8):
        outputs = [v for pair in said(net, x) for v in pair]
        assert all(v.min() >= 0 and v.max() <= 1 for v in outputs)
        clips = [v.mean(1) if v.ndim == 3 else v for v in outputs]
        loss = sum(F.binary_cross_entropy(v, y[:, : v.shape[1]]) for v in clips)
        adam.zero_grad()
        loss.backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in learned)
        adam.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    nets.save(net, tmp_path)  # a fresh net of the same spec takes weights and buffers
    again = nets.trained(spec, 7, tmp_path)
    for mine, its in zip(said(net.eval(), x)[0], said(again, x)[0], strict=True):
        assert torch.equal(mine, its)


@each
@pytest.mark.filterwarnings("ignore:TF32")
def test_probabilities_are_float32_under_autocast(row):
    net, _, x = made(row)
    # not every CPU has a primitive for an LSTM in bf16
    with torch.backends.mkldnn.flags(enabled=False), torch.autocast("cpu", torch.bfloat16):
        found = said(net, x)
    for p, clip in found:
        assert p.dtype == clip.dtype == torch.float32 and clip.isfinite().all()


@pytest.mark.parametrize("frames, steps", [(1, 1), (31, 1), (95, 1), (96, 1), (127, 1), (128, 2)])
def test_segments_of_short_clips(frames, steps):
    assert made(NETS[0])[0](torch.randn(2, frames, 32))[0].shape == (2, steps, 7)


@pytest.mark.parametrize("row", [r for r in NETS if r[0] in (SECOST, TALNET, TSD, CONDITIONAL)])
def test_short_input_equals_silence_at_the_end(row):
    net, _, x = made(row)
    net.set_statistics(torch.randn(x.shape[2]), torch.rand(x.shape[2]) + 0.5)
    x = x[:, : net.shortest // 2]
    missing = (0, 0, 0, net.shortest - x.shape[1])
    silent, zeros = F.pad(x, missing, value=nets.FLOOR), F.pad(x, missing)
    p, padded, other = (said(net.eval(), v)[0][0] for v in (x, silent, zeros))
    assert torch.equal(p, padded) and not torch.equal(p, other)
    assert p.shape[1] == 1 and np.exp(nets.FLOOR) == pytest.approx(FrontEnd.floor)


def test_statistics_standardise_every_bin_and_are_no_parameters():
    net, x = nets.LogMelNet(64), 3 * torch.randn(4, 200, 64) + torch.linspace(-20, 0, 64)
    x[:, :, 5] = nets.FLOOR  # a bin where nothing ever sounds
    net.set_statistics(x.mean((0, 1)), x.std((0, 1)))
    image = net.image(x)[:, 0]
    torch.testing.assert_close(image.mean((0, 1)), torch.zeros(64), atol=1e-3, rtol=0)
    others = torch.arange(64) != 5
    torch.testing.assert_close(image.std((0, 1))[others], torch.ones(63), atol=1e-3, rtol=0)
    assert image.isfinite().all() and nets.parameter_count(net) == 0
    assert {"mean", "std"} == set(net.state_dict())
    for wrong, reason in ((torch.zeros(32), "64"), (torch.full((64,), torch.nan), "finite")):
        with pytest.raises(ValueError, match=reason):
            net.set_statistics(wrong, torch.ones_like(wrong))


EVERY = dict.fromkeys(row[0] for row in NETS)
WRONG = [(name, *row) for names, *row in CASES["wrong_nets"] for name in names or EVERY]


@pytest.mark.parametrize("name, settings, reason", WRONG)
def test_a_wrong_setting_gets_one_line(name, settings, reason):
    with refused(reason.format(name=name)):
        nets.build({"net": {"name": name} | settings}, 7)
    with pytest.raises(ValueError, match="positive"):
        nets.build({"net": {"name": name}}, 0)
