"""A bidirectional GRU over pairs of a clip and a query: nn.GRU's, faster on a CPU.

A pair's input is the clip's features, with the query's embedding behind every frame. So the input
product is a sum of one product a clip and one a query, and no pair repeats either of them. Whole
runs of the laptop's size take 1.4 to 1.6 times as long with nn.GRU.
"""

import torch
from torch import nn

DIRECTIONS = ("_l0", "_l0_reverse")


def pair_gru(gru: nn.GRU, z: torch.Tensor, e: torch.Tensor, clip: torch.Tensor) -> torch.Tensor:
    """``gru`` on z[clip] with e behind every frame -> (pairs, steps, 2 units).

    gru: one layer, bidirectional, batch first; z: (clips, steps, channels); e: (pairs, values);
    clip: (pairs,) each pair's row of z. Values and gradients are nn.GRU's.
    """
    if z.device.type != "cpu":  # there nn.GRU is one fused kernel
        return gru(torch.cat([z[clip], e[:, None].expand(-1, z.shape[1], -1)], 2))[0]
    W_i, W_h, b_i, b_h = (
        torch.stack([getattr(gru, name + end) for end in DIRECTIONS])
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    W_z, W_e = W_i.transpose(1, 2).split([z.shape[2], e.shape[1]], 1)
    units = gru.hidden_size
    forth = z.transpose(0, 1)
    of_clip = torch.stack([forth, forth.flip(0)], 1) @ W_z
    # the new gate's recurrent bias stands inside the product with the reset gate
    outside, inside = b_h.split([2 * units, units], 1)
    bias = b_i + nn.functional.pad(outside, (0, units))
    of_query = e @ W_e + bias[:, None]
    h = Recurrence.apply(of_clip, of_query, clip, W_h.transpose(1, 2).contiguous(), inside[:, None])
    ahead, back = h.unbind(1)
    return torch.cat([ahead, back.flip(0)], 2).transpose(0, 1)


class Recurrence(torch.autograd.Function):
    """Both directions' steps, r, z = sigmoid(x + h W), n = tanh(x + r (h W + b)), (1 - z) n + z h.

    of_clip: (steps, 2, clips, 3 units), of_query: (2, pairs, 3 units), their sum is x; clip:
    (pairs,); W: (2, units, 3 units); b: (2, 1, units). Gives (steps, 2, pairs, units). Gates stand
    in torch's order: r, z, n.
    """

    @staticmethod
    def forward(ctx, of_clip, of_query, clip, W, b):
        (steps, _, clips, _), pairs, u = of_clip.shape, of_query.shape[1], W.shape[1]
        x_rz, x_n = of_query.split([2 * u, u], 2)
        start = torch.cat([x_rz, b.expand_as(x_n)], 2)
        rz, n, inner = (of_clip.new_empty(steps, 2, pairs, k) for k in (2 * u, u, u))
        h = of_clip.new_zeros(steps + 1, 2, pairs, u)
        for x, before, after, rz_t, n_t, inner_t in zip(
            *(a.unbind() for a in (of_clip, h[:-1], h[1:], rz, n, inner)), strict=True
        ):
            x = x.index_select(1, clip)
            g = torch.baddbmm(start, before, W)
            torch.add(g[..., : 2 * u], x[..., : 2 * u], out=rz_t).sigmoid_()
            inner_t.copy_(g[..., 2 * u :])
            torch.addcmul(x_n, rz_t[..., :u], inner_t, out=n_t).add_(x[..., 2 * u :]).tanh_()
            torch.lerp(n_t, before, rz_t[..., u:], out=after)
        ctx.save_for_backward(rz, n, inner, h, W, clip)
        ctx.clips = clips
        return h[1:]

    @staticmethod
    def backward(ctx, grad):
        rz, n, inner, h, W, clip = ctx.saved_tensors
        steps, _, pairs, u = grad.shape
        back, dW = W.transpose(1, 2).contiguous(), torch.zeros_like(W)
        # a sum over each clip's pairs as a product, which is faster than index_add
        gather = grad.new_zeros(ctx.clips, pairs).scatter_(0, clip[None], 1).repeat(2, 1, 1)
        d_clip = grad.new_empty(steps, 2, ctx.clips, 3 * u)
        # of the gates' inputs x, and of h W + b, which differs in the new gate
        dx, dg = (grad.new_empty(2, pairs, 3 * u) for _ in range(2))
        d_query, db, dh = (grad.new_zeros(2, pairs, k * u) for k in (3, 1, 1))
        sigmoid, tanh = torch.ops.aten.sigmoid_backward, torch.ops.aten.tanh_backward
        for t in range(steps - 1, -1, -1):
            r, z = rz[t].split(u, 2)
            dh = dh + grad[t]
            keep = dh * z
            dn = tanh(dh - keep, n[t])
            torch.mul(dn, inner[t], out=dg[..., :u])
            torch.mul(dh, h[t] - n[t], out=dg[..., u : 2 * u])
            dx[..., : 2 * u] = sigmoid(dg[..., : 2 * u], rz[t])
            dg[..., : 2 * u] = dx[..., : 2 * u]
            dx[..., 2 * u :] = dn
            torch.mul(dn, r, out=dg[..., 2 * u :])
            dh = keep.baddbmm_(dg, back)
            d_query += dx
            db += dg[..., 2 * u :]
            torch.bmm(gather, dx, out=d_clip[t])
            dW.baddbmm_(h[t].transpose(1, 2), dg)
        return d_clip, d_query, None, dW, db.sum(1, keepdim=True)
