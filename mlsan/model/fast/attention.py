"""Attention within dialogues, for all streams, dialogues and heads of a bucket at once.

Dialogues are short and heads are narrow: PyTorch's kernel for the CPU spends most of its time
between the many small problems. On the CPU, attention is therefore two batched products around a
softmax, with the derivative written out. A GPU uses PyTorch's kernel.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import scaled_dot_product_attention

from mlsan.model.fast.packing import Bucket, Packing


def attend(
    query: Float[Tensor, "stream utterance feature"],
    key_value: Float[Tensor, "stream row features"],
    heads: int,
    packing: Packing,
) -> Float[Tensor, "stream utterance feature"]:
    """softmax(Q K^T / sqrt(d / heads)) V of each head, each utterance in its own dialogue."""
    if query.device.type == "cpu":
        return _Attention.apply(query, key_value, heads, packing)
    queries = packing.queries(query).split([b.dialogues * b.turns for b in packing.buckets], 1)
    keys = packing.key_cells(key_value).split([b.dialogues * b.keys for b in packing.buckets], 1)
    attended = []
    for q, kv, bucket in zip(queries, keys, packing.buckets, strict=True):
        q, k, v = (_by_head(x, bucket, heads) for x in (q, *kv.chunk(2, -1)))
        mask = None if bucket.mask is None else bucket.mask.repeat(len(query), 1, 1, 1)
        y = scaled_dot_product_attention(q, k, v, mask)
        attended.append(_by_cell(y, bucket, len(query)))
    return torch.cat(attended, 1).index_select(1, packing.queries.inverse)


def _by_head(x: Float[Tensor, "stream cell feature"], bucket: Bucket, heads: int) -> Tensor:
    """[stream x dialogue, head, turn, feature of head]"""
    streams, cells, _ = x.shape
    shape = streams * bucket.dialogues, cells // bucket.dialogues, heads, -1
    return x.reshape(shape).transpose(1, 2)


def _by_cell(x: Tensor, bucket: Bucket, streams: int) -> Float[Tensor, "stream cell feature"]:
    """Back from `_by_head`."""
    return x.transpose(1, 2).reshape(streams, bucket.dialogues * x.shape[2], -1)


class _Attention(torch.autograd.Function):
    """See `attend`. Weights p lie with keys before queries: the softmax is faster this way."""

    @staticmethod
    def forward(ctx, query, key_value, heads, packing):
        query_cells = query.index_select(1, packing.queries.index)
        key_cells = key_value.index_select(1, packing.key_cells.index)
        attended = torch.empty_like(query_cells)
        saved = []
        for bucket, at, keys in packing.bucket_cells():
            q, k, v = (
                _by_head(x, bucket, heads).flatten(0, 1)
                for x in (query_cells[:, at], *key_cells[:, keys].chunk(2, -1))
            )
            q = q * k.shape[2] ** -0.5
            if bucket.mask is None:
                scores = torch.bmm(k, q.transpose(1, 2))
            else:
                hidden = torch.zeros_like(bucket.mask, dtype=q.dtype)
                hidden = hidden.masked_fill_(~bucket.mask, -torch.inf).view(-1, 1, bucket.keys, 1)
                hidden = hidden.repeat(len(query), heads, 1, 1).flatten(0, 1)
                scores = torch.baddbmm(hidden, k, q.transpose(1, 2))
            p = scores.softmax(1)
            y = torch.bmm(p.transpose(1, 2), v)
            attended[:, at] = _by_cell(y.unflatten(0, (-1, heads)), bucket, len(query))
            saved += [q, k, v, p]
        ctx.save_for_backward(*saved)
        ctx.heads, ctx.packing = heads, packing
        return attended.index_select(1, packing.queries.inverse)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        heads, packing, saved = ctx.heads, ctx.packing, ctx.saved_tensors
        streams, _, d = grad.shape
        # Spare cells, which no utterance reads, have no gradient.
        above = grad.new_zeros(streams, len(packing.queries.index), d)
        above.index_copy_(1, packing.queries.inverse, grad)
        dquery = torch.empty_like(above)
        dkey_value = grad.new_empty(streams, len(packing.key_cells.index), 2 * d)
        for i, (bucket, at, keys) in enumerate(packing.bucket_cells()):
            q, k, v, p = saved[4 * i : 4 * i + 4]
            dy = _by_head(above[:, at], bucket, heads).flatten(0, 1)
            dv = torch.bmm(p, dy)
            ds = torch.bmm(v, dy.transpose(1, 2)).mul_(p)
            ds.addcmul_(p, ds.sum(1, keepdim=True), value=-1)
            dq, dk = torch.bmm(ds.transpose(1, 2), k), torch.bmm(ds, q)
            dq.mul_(k.shape[2] ** -0.5)
            dq, dk, dv = (
                _by_cell(x.unflatten(0, (-1, heads)), bucket, streams) for x in (dq, dk, dv)
            )
            dquery[:, at] = dq
            dkey_value[:, keys, :d], dkey_value[:, keys, d:] = dk, dv
        dquery = dquery.index_select(1, packing.queries.inverse)
        return dquery, dkey_value.index_select(1, packing.key_cells.inverse), None, None
