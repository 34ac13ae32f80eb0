"""TSDNet, its discriminator and the conditional network: sizes, who sees what, gradients."""

import collections
import copy
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn
from wsaed.nets.conditional import load_panns
from wsaed.nets.layers import parameter_count
from wsaed.nets.pair_gru import pair_gru
from wsaed.nets.tsdnet import Discriminator, PowerPool, Student, reverse

from wsaed import losses, nets
from wsaed.features import FRONT_ENDS

NARROW = {"width": 0.05, "mels": 32, "dropout": 0.0}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def build(name="tsdnet", classes=1, **settings):
    return nets.build({"net": {"name": name, **settings}}, classes)


# Sizes


@pytest.mark.parametrize(
    "form, pools, steps, rate",
    [
        ("text", None, 250, 25),
        ("text", [1, 1, 1], 500, 50),
        ("code", None, 62, 6.25),
        ("code", [2, 2, 1, 1], 125, 12.5),
    ],
)
def test_shapes_and_rate_of_both_forms_at_the_papers_input(form, pools, steps, rate):
    net = build(form=form, width=0.05, pools=pools)
    x, e = torch.randn(2, 500, 64), torch.rand(2, 3, 128)
    z = net.features(x)
    channels = {"text": 8, "code": 26}[form]
    assert z.shape == (2, channels, steps, 1) and net.channels == channels
    p, G = net(x, e)
    units = {"text": 13, "code": 26}[form]
    assert p.shape == (2, 3, steps) and G.shape == (2, 3, steps, 2 * units)
    assert (p > 0).all() and (p < 1).all()
    assert net.frames_per_second(FRONT_ENDS["tsd"]) == rate


def test_32_mels_leave_one_bin_too():
    for form, steps in (("text", 125), ("code", 31)):
        z = build(form=form, **NARROW).features(torch.randn(2, 250, 32))
        assert z.shape[2:] == (steps, 1)


def bigru(inputs, units):
    return 2 * (3 * units * (inputs + units) + 2 * 3 * units)


def test_parameters_of_the_papers_sizes_follow_from_the_shapes_it_gives():
    convs = [(1, 32), (32, 128), (128, 128), (128, 128), (128, 128)]
    text = sum(9 * a * b + 2 * a for a, b in convs)  # batch norm stands before the convolution
    text += bigru(128 + 128, 256) + (512 * 256 + 256) + (256 * 2 + 2)
    assert parameter_count(build()) == text == 1_401_700
    convs = [(1, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 512)]
    code = sum(9 * a * b + 2 * b for a, b in [*convs, (512, 512)])
    code += bigru(512 + 128, 512) + (1024 * 256 + 256) + (256 * 2 + 2)
    assert parameter_count(build(form="code")) == code == 8_494_146
    blocks = (1, 64, 128, 256, 512, 1024, 2048)
    vgg = sum(9 * (a * b + b * b) + 4 * b for a, b in pairwise(blocks)) + 2 * 64
    vgg += (2048 * 128 + 128) + (128 * 527 + 527)
    with torch.device("meta"):
        assert parameter_count(build("conditional", 527)) == vgg
    assert parameter_count(Discriminator(512)) == 3 * (512 * 512 + 2 * 512) + 512 * 2 + 2


def test_width_never_touches_the_embedding():
    for width in (1.0, 0.25):
        net = build(width=width)
        assert net.gru.input_size - net.channels == 128
    assert build("conditional", 4, **NARROW).fc1.out_features == 128


@pytest.mark.parametrize(
    "name, settings, complaint",
    [
        ("tsdnet", {"form": "paper"}, "form must be one of"),
        ("tsdnet", {"pools": [2, 1]}, r"pools must be 3 whole numbers, got \[2, 1\]"),
        ("tsdnet", {"form": "code", "pools": [2, 2, 2, 0]}, "pools must be 4 whole numbers"),
        ("tsdnet", {"mels": 20}, "mels must be one of"),
        ("tsdnet", {"width": 0}, "width and classes must be positive"),
        ("conditional", {"frames": 250}, "unknown setting 'frames'"),
    ],
)
def test_a_setting_that_makes_no_sense_is_one_line(name, settings, complaint):
    with pytest.raises(ValueError, match=complaint) as error:
        build(name, **settings)
    assert "\n" not in str(error.value)


# The detection network


def test_a_query_is_answered_as_the_text_says_step_by_step():
    net = build(**NARROW).eval()
    x, e = torch.randn(2, 250, 32), torch.rand(2, 3, 128)
    p, G = net(x, e)
    z = net.trunk(((x - net.mean) / net.std)[:, None])
    first, last = net.head
    for clip in range(2):
        for query in range(3):
            behind = e[clip, query].expand(z.shape[2], -1)
            frames = torch.cat([z[clip, :, :, 0].T, behind], 1)
            hidden = net.gru(frames[None])[0][0]
            present = last(first(hidden)).exp()
            present = present[:, 0] / present.sum(1)
            assert torch.allclose(p[clip, query], present, atol=1e-6)
            assert torch.allclose(G[clip, query], hidden, atol=1e-6)


def test_clips_may_be_asked_different_numbers_of_queries():
    net = build(**NARROW).eval()
    x, e = torch.randn(3, 250, 32), torch.rand(3, 4, 128)
    p, G = net(x, e)
    clip, query = torch.tensor([2, 0, 0, 2]), torch.tensor([1, 3, 0, 0])  # none of clip 1
    found, hidden = net.ask(net.features(x), e[clip, query], clip)
    assert torch.allclose(found, p[clip, query], atol=1e-6)
    assert torch.allclose(hidden, G[clip, query], atol=1e-6)


def test_the_trunk_runs_once_a_clip_and_never_sees_the_query():
    net = build(**NARROW).eval()
    calls = []
    net.trunk.register_forward_hook(lambda module, x, z: calls.append(z.shape[0]))
    x = torch.randn(2, 250, 32)
    a, b = net(x, torch.rand(2, 5, 128))[0], net(x, torch.rand(2, 5, 128))[0]
    assert calls == [2, 2] and not torch.allclose(a, b, atol=1e-4)


@pytest.mark.parametrize("clips, queries", [([0, 0, 2, 2, 2], 3), ([1, 0, 2, 0], 4), ([2], 3)])
def test_the_pairs_gru_is_torch_s_in_values_and_gradients(clips, queries):
    clip, steps = torch.tensor(clips), 9
    gru = nn.GRU(6 + 5, 7, batch_first=True, bidirectional=True).double()
    z = torch.randn(queries, steps, 6, dtype=torch.double, requires_grad=True)
    e = torch.randn(len(clip), 5, dtype=torch.double, requires_grad=True)
    seen = torch.cat([z[clip], e[:, None].expand(-1, steps, -1)], 2)
    ours, theirs = pair_gru(gru, z, e, clip), gru(seen)[0]
    assert ours.shape == (len(clip), steps, 14)
    assert torch.allclose(ours, theirs, atol=1e-12)
    weights, inputs = torch.randn_like(ours), [z, e, *gru.parameters()]
    grads = [torch.autograd.grad((out * weights).sum(), inputs) for out in (ours, theirs)]
    for a, b in zip(*grads, strict=True):
        assert torch.allclose(a, b, atol=1e-11) and b.abs().sum() > 0


def test_power_pooling_is_torch_s_and_has_a_slope_where_all_is_silent():
    x = torch.randn(2, 3, 8, 8, requires_grad=True)
    ours, theirs = PowerPool((2, 4))(x), nn.LPPool2d(4, (2, 4))(x)
    assert torch.allclose(ours, theirs, atol=1e-5)
    grads = [torch.autograd.grad(out.sum(), x)[0] for out in (ours, theirs)]
    assert torch.allclose(*grads, atol=1e-4)
    silent = torch.zeros(1, 1, 4, 4, requires_grad=True)
    PowerPool((2, 4))(silent).sum().backward()
    assert silent.grad.isfinite().all()


# The domains


def test_the_gradient_is_turned_round():
    z = torch.randn(5, requires_grad=True)
    out = reverse(z, 0.2)
    assert torch.equal(out, z)
    out.backward(torch.arange(5.0))
    assert torch.allclose(z.grad, -0.2 * torch.arange(5.0))


def parts(lambda_d, net, discriminator, x, e, clip):
    """Gradients of L_tsd and L_d apart, and of what training minimises, for trunk and D."""
    d = torch.tensor([[1.0, 0.0]] * 2 + [[0.0, 1.0]] * 2)
    y = torch.rand(len(clip), 125)
    learner = Student(net, lambda_d)
    learner.discriminator = discriminator
    weights = [*net.trunk.parameters()], [*discriminator.parameters()]

    def grads(loss):
        found = [
            torch.autograd.grad(loss, w, retain_graph=True, allow_unused=True) for w in weights
        ]
        return [[g if g is not None else torch.zeros(()) for g in part] for part in found]

    z = net.features(x)
    tsd = losses.binary_cross_entropy(net.ask(z, e, clip)[0], y)
    domain = losses.domain_loss(discriminator(z), d)
    p, _, D_z = learner(x, e, clip)
    both = losses.binary_cross_entropy(p, y) + losses.domain_loss(D_z, d)
    return grads(tsd), grads(domain), grads(both)


def test_equation_9_the_trunk_raises_the_domain_loss_and_the_discriminator_lowers_it():
    net = build(**NARROW)
    x, e = torch.randn(4, 250, 32), torch.rand(3, 128)
    tsd, domain, both = parts(0.2, net, Discriminator(net.channels), x, e, torch.tensor([0, 0, 1]))
    for a, b, c in zip(tsd[0], domain[0], both[0], strict=True):
        assert torch.allclose(c, a - 0.2 * b, atol=1e-6)
    for b, c in zip(domain[1], both[1], strict=True):
        assert torch.allclose(c, b, atol=1e-6)
    assert sum(g.abs().sum() for g in domain[0]) > 0 < sum(g.abs().sum() for g in domain[1])


def test_a_step_with_the_gradient_reversed_makes_the_domains_harder_to_tell():
    z = torch.randn(16, 8, 5, 1)
    z[8:] += 0.5
    d = torch.eye(2).repeat_interleave(8, 0)
    net = Discriminator(8)
    for side in ("trunk", "discriminator"):
        moved, judge = z.clone().requires_grad_(), copy.deepcopy(net)
        before = losses.domain_loss(judge(reverse(moved, 0.2)), d)
        before.backward()
        with torch.no_grad():
            for w in [moved] if side == "trunk" else judge.parameters():
                w -= 1e-3 * w.grad / w.grad.norm()
        after = losses.domain_loss(judge(moved), d)
        assert after > before if side == "trunk" else after < before


def test_the_discriminator_learns_to_tell_domains_that_differ():
    net, d = Discriminator(8), torch.eye(2).repeat_interleave(16, 0)
    adam = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(60):
        z = torch.randn(32, 8, 20, 1)
        z[16:, 0] += 1
        loss = losses.domain_loss(net(reverse(z, 0.2)), d)
        adam.zero_grad()
        loss.backward()
        adam.step()
    assert loss < 0.2 < 0.5  # 0.5 is a coin's


def test_the_discriminator_s_output_is_bounded_and_pools_mel_by_mean_and_time_by_maximum():
    net = Discriminator(4).eval()
    z = torch.randn(3, 4, 6, 2)
    out = net(100 * z)
    assert torch.allclose(out.sum(1), torch.ones(3)) and (out >= 0).all()
    h = net.layers(z)
    by_hand = net.fc((h.sum(3) / 2).amax(2)).softmax(1)
    assert torch.allclose(net(z), by_hand)
    assert not [m for m in net.modules() if isinstance(m, nn.Conv2d) and m.kernel_size != (1, 1)]


def test_without_a_weight_there_is_no_discriminator():
    learner = Student(build(**NARROW), 0)
    *_, D_z = learner(torch.randn(2, 250, 32), torch.rand(1, 128), torch.tensor([0]))
    assert D_z is None and learner.discriminator is None


# The conditional network


def test_the_conditional_network_s_outputs():
    net = build("conditional", 4, **NARROW)
    x = torch.randn(3, 250, 32)
    frames, clips = net(x)
    assert frames.shape == (3, 1, 4) and clips.shape == (3, 4)
    assert torch.equal(frames[:, 0], clips) and (clips > 0).all() and (clips < 1).all()
    e = net.embedding(x)
    assert e.shape == (3, 128) and (e >= 0).all() and e.any()
    assert torch.allclose(net.fc_audioset(e).sigmoid(), clips, atol=0.3)
    assert net.frames_per_second(FRONT_ENDS["tsd_40ms"]) == pytest.approx(0.1)
    assert net(torch.randn(2, 10, 32))[1].shape == (2, 4)  # ends in silence


def test_the_embedding_pools_time_by_maximum_plus_mean():
    net = build("conditional", 4, **NARROW).eval()
    seen = {}
    net.conv_block6.register_forward_hook(lambda m, x, out: seen.update(z=out))
    e = net.embedding(torch.randn(2, 250, 32))
    z = seen["z"].mean(3)
    assert z.shape[2] == 250 // 32
    assert torch.allclose(e, net.fc1(z.max(2)[0] + z.sum(2) / z.shape[2]).relu(), atol=1e-5)


@pytest.fixture
def panns(tmp_path):
    """A checkpoint as PANNs writes them, of a narrow net, and a net that it fits."""
    settings = {"width": 0.02, "mels": 64}
    source, net = (build("conditional", n, **settings) for n in (527, 4))
    model = {k: v for k, v in source.state_dict().items() if k not in ("mean", "std")}
    model["spectrogram_extractor.stft.conv_real.weight"] = torch.zeros(3)
    model["logmel_extractor.melW"] = torch.zeros(3)
    sampler = {"pointers_of_classes": [0, 1], "queue": [], "indexes_per_class": [np.arange(3)]}
    return tmp_path / "net.pth", {"iteration": 7, "model": model, "sampler": sampler}, source, net


def test_panns_weights_arrive_all_but_the_classes_and_hear_decibels(panns):
    path, stored, source, net = panns
    torch.save(stored, path)
    before = net.fc_audioset.weight.clone()
    load_panns(path, net)
    given, got = source.state_dict(), net.state_dict()
    own = [k for k in got if not k.startswith(("mean", "std", "fc_audioset"))]
    assert len(own) > 40 and all(torch.equal(given[k], got[k]) for k in own)
    assert torch.equal(net.fc_audioset.weight, before)
    power = torch.rand(1, 64, 64)
    decibels = net.image(power.log())[0, 0]
    assert torch.allclose(decibels, 10 * power[0].log10(), atol=1e-4)


def edited(stored, name, value):
    model = dict(stored["model"])
    model.pop(name, None)
    return stored | {"model": model if value is None else model | {name: value}}


@pytest.mark.parametrize(
    "name, value, complaint",
    [
        ("conv_block3.conv1.weight", None, "conv_block3.conv1.weight is missing"),
        ("layer4.weight", torch.zeros(2), "layer4.weight is unknown"),
        ("mean", torch.zeros(64), "mean is unknown"),
        ("fc1.weight", torch.zeros(2048, 10), r"fc1.weight is \(2048, 10\), not \(128, 41\)"),
    ],
)
def test_a_checkpoint_of_another_net_is_one_line(panns, name, value, complaint):
    path, stored, _, net = panns
    torch.save(edited(stored, name, value), path)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    with pytest.raises(ValueError, match=complaint) as error:
        load_panns(path, net)
    assert "\n" not in str(error.value) and str(path) in str(error.value)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


class Foreign:
    def __reduce__(self):
        return print, ("this ran",)


@pytest.mark.parametrize(
    "content",
    [
        {"model": {}, "trick": Foreign()},
        {"model": {}, "trick": collections.Counter()},
        {"state": {}},
        {"model": [1, 2]},
        [1, 2],
        None,
    ],
)
def test_a_file_that_is_no_checkpoint_is_one_line_and_runs_nothing(panns, content, capsys):
    path, _, _, net = panns
    if content is None:
        path.write_bytes(b"not a zip")
    else:
        torch.save(content, path)
    with pytest.raises(ValueError, match=r"net\.pth") as error:
        load_panns(path, net)
    assert "\n" not in str(error.value) and "this ran" not in capsys.readouterr().out


def test_a_checkpoint_that_is_not_there_is_one_line(panns):
    with pytest.raises(
        ValueError, match=r"net\.pth: no such file; take PANNs' Cnn14_emb128"
    ) as error:
        load_panns(panns[0], panns[3])
    assert "\n" not in str(error.value)
