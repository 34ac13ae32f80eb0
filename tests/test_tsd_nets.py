"""The detection network, its discriminator and PANNs' network: sizes, who sees what, gradients."""

import collections
from itertools import pairwise

import numpy as np
import pytest
import torch
from conftest import refused
from torch import nn

from wsaed import nets, training
from wsaed.tsd.conditional import load_panns
from wsaed.tsd.method import Student, domain_loss, frame_loss
from wsaed.tsd.nets import Discriminator, PowerPool, pair_gru

NARROW = {"width": 0.05, "mels": 32, "dropout": 0.0}
DETECTION, CONDITIONAL = "tsd.nets:DetectionNet", "tsd.conditional:Conditional"


def build(name=DETECTION, classes=1, **settings):
    return nets.build({"net": {"name": name, **settings}}, classes)


# Sizes


@pytest.mark.parametrize("mels, left", [(64, (1, 1)), (32, (1, 1)), (128, (2, 2)), (40, (1, 1))])
def test_features_and_hidden_states_of_both_forms(mels, left):
    x, e, clip = torch.randn(2, 250, mels), torch.rand(3, 128), torch.tensor([0, 1, 1])
    sizes = {"text": (125, 8, 13), "code": (31, 26, 26)}
    for (form, (steps, channels, units)), bins in zip(sizes.items(), left, strict=True):
        net = build(form=form, **NARROW | {"mels": mels})
        assert net.features(x).shape == (2, channels, steps, bins) and net.channels == channels
        p, G = net(x, e, clip)
        assert p.shape == (3, steps) and G.shape == (3, steps, 2 * units)
        assert (p > 0).all() and (p < 1).all()


def bigru(inputs, units):
    return 2 * (3 * units * (inputs + units) + 2 * 3 * units)


def test_parameters_of_the_papers_sizes_follow_from_the_shapes_it_gives():
    convs = [(1, 32), (32, 128), (128, 128), (128, 128), (128, 128)]
    text = sum(9 * a * b + 2 * a for a, b in convs)  # batch norm stands before the convolution
    text += bigru(128 + 128, 256) + (512 * 256 + 256) + (256 * 2 + 2)
    assert nets.parameter_count(build()) == text == 1_401_700
    convs = pairwise((1, 64, 64, 128, 128, 256, 256, 512, 512))
    code = sum(9 * a * b + 2 * b for a, b in convs)
    code += bigru(512 + 128, 512) + (1024 * 256 + 256) + (256 * 2 + 2)
    assert nets.parameter_count(build(form="code")) == code == 8_494_146
    blocks = (1, 64, 128, 256, 512, 1024, 2048)
    vgg = sum(9 * (a * b + b * b) + 4 * b for a, b in pairwise(blocks)) + 2 * 64
    vgg += (2048 * 128 + 128) + (128 * 527 + 527)
    with torch.device("meta"):
        assert nets.parameter_count(build(CONDITIONAL, 527)) == vgg
    assert nets.parameter_count(Discriminator(512)) == 3 * (512 * 512 + 2 * 512) + 512 * 2 + 2
    narrow = build(width=0.25)  # which never touches the embedding
    assert narrow.gru.input_size - narrow.channels == 128
    assert build(CONDITIONAL, 4, **NARROW).fc1.out_features == 128


# The detection network


def test_the_trunk_runs_once_a_clip_and_never_sees_the_query():
    net, calls, clip = build(**NARROW).eval(), [], torch.arange(10) % 2
    net.trunk.register_forward_hook(lambda module, x, z: calls.append(z.shape[0]))
    x = torch.randn(2, 250, 32)
    a, b = (net(x, torch.rand(10, 128), clip)[0] for _ in range(2))
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


@pytest.mark.parametrize("lambda_d", [0.2, -0.2])  # as printed; as in the released code
def test_equation_9_the_trunk_raises_the_domain_loss_or_lowers_it_as_the_judge_does(lambda_d):
    learner = Student(build(**NARROW), lambda_d)
    x, e, clip = torch.randn(4, 250, 32), torch.rand(3, 128), torch.tensor([0, 0, 1])
    d, y = torch.eye(2).repeat_interleave(2, 0), torch.rand(3, 125)
    net, judge = learner.net, learner.discriminator

    def grads(loss, module):
        found = torch.autograd.grad(loss, [*module.parameters()], retain_graph=True)
        return torch.cat([g.flatten() for g in found])

    z = net.features(x)
    tsd, domain = frame_loss(net.ask(z, e, clip)[0], y), domain_loss(judge(z), d)
    p, _, D_z = learner(x, e, clip)
    both = frame_loss(p, y) + domain_loss(D_z, d)
    against = grads(tsd, net.trunk) - lambda_d * grads(domain, net.trunk)
    assert torch.allclose(grads(both, net.trunk), against, atol=1e-6)
    assert torch.allclose(grads(both, judge), grads(domain, judge), atol=1e-6)
    assert all(grads(domain, part).any() for part in (net.trunk, judge))
    *_, D_z = Student(net, 0)(x, e, clip)
    assert D_z is None  # without a weight there is no discriminator


def test_the_discriminator_learns_to_tell_domains_that_differ():
    net, d = Discriminator(8), torch.eye(2).repeat_interleave(16, 0)
    apart = torch.zeros(32, 8, 1, 1)
    apart[16:, 0] = 1

    def losses(net, batch):
        return {"loss": domain_loss(net(torch.randn(32, 8, 20, 1) + apart), d)}

    rows = training.fit(net, losses, range, {"epochs": 12, "learning_rate": 1e-2}, seed=0)
    assert rows[-1]["loss"] < 0.2 < 0.5  # 0.5 is a coin's


def test_the_discriminator_is_bounded_pools_mel_by_mean_and_time_by_maximum():
    net = Discriminator(4).eval()
    z = torch.randn(3, 4, 6, 2)
    out = net(100 * z)
    assert torch.allclose(out.sum(1), torch.ones(3)) and (out >= 0).all()
    by_hand = net.fc((net.layers(z).sum(3) / 2).amax(2)).softmax(1)
    assert torch.allclose(net(z), by_hand)
    assert not [m for m in net.modules() if isinstance(m, nn.Conv2d) and m.kernel_size != (1, 1)]


# The conditional network


def test_the_conditional_network_s_outputs_and_its_pool_of_time():
    net = build(CONDITIONAL, 4, **NARROW).eval()
    seen, x = {}, torch.randn(3, 250, 32)
    net.conv_block6.register_forward_hook(lambda m, x, out: seen.update(z=out))
    e, (frames, clips) = net.embedding(x), net(x)
    assert e.shape == (3, 128) and (e >= 0).all() and e.any()
    assert frames.shape == (3, 1, 4) and torch.equal(frames[:, 0], clips)
    assert torch.allclose(net.fc_audioset(e).sigmoid(), clips)
    z = seen["z"].mean(3)
    assert z.shape[2] == 250 // 32
    assert torch.allclose(e, net.fc1(z.max(2)[0] + z.sum(2) / z.shape[2]).relu(), atol=1e-5)


@pytest.fixture
def panns(tmp_path):
    """A checkpoint as PANNs writes them, of a narrow net, and a net that it fits."""
    source, net = (build(CONDITIONAL, n, width=0.02) for n in (527, 4))
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


class Foreign:
    def __reduce__(self):
        return print, ("this ran",)


def edited(**changed):
    """A checkpoint with some of its weights changed, None for without."""
    kept = lambda model: {k: v for k, v in (model | changed).items() if v is not None}  # noqa: E731
    return lambda stored: {"model": kept(stored["model"])}


OTHER_FILES = [
    (edited(**{"fc1.bias": None}), "fc1.bias is missing; take PANNs' Cnn14_emb128"),
    (edited(**{"layer4.weight": torch.zeros(2)}), "layer4.weight is unknown"),
    (edited(mean=torch.zeros(64)), "mean is unknown"),
    (edited(**{"fc1.weight": torch.zeros(9, 8)}), r"fc1.weight is \(9, 8\), not \(128, 41\)"),
    ({"model": {}, "trick": Foreign()}, "read as weights only"),
    ({"model": {}, "counter": collections.Counter()}, "bn0.bias is missing"),
    ({"state": {}}, "KeyError"),
    ({"model": [1, 2]}, "AttributeError"),
    ([1, 2], "TypeError"),
    (b"not a zip", "read as weights only"),
    (None, "no such file; take PANNs' Cnn14_emb128"),
]


@pytest.mark.parametrize("content, complaint", OTHER_FILES)
def test_another_file_is_one_line_and_runs_nothing(panns, content, complaint, capsys):
    path, stored, _, net = panns
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content(stored) if callable(content) else content, path)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    with refused(rf"net\.pth: .*{complaint}"):
        load_panns(path, net)
    assert "this ran" not in capsys.readouterr().out
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
