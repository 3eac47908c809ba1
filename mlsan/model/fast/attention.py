"""Attention within dialogues, for all streams, dialogues and heads of a bucket at once.

Dialogues are short and heads are narrow: PyTorch's kernel for the CPU spends most of its time
between the many small problems. On the CPU, attention is therefore two batched products around a
softmax, with the derivative written out. A GPU uses PyTorch's kernel.
"""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import scaled_dot_product_attention

from mlsan.model.fast.dropout import draw
from mlsan.model.fast.packing import Bucket, Packing


def attend(
    query: Float[Tensor, "stream utterance feature"],
    key_value: Float[Tensor, "stream row features"],
    heads: int,
    packing: Packing,
    dropout: float = 0.0,
) -> Float[Tensor, "stream utterance feature"]:
    """dropout(softmax(Q K^T / sqrt(d / heads))) V of each head, each utterance in its own dialogue.

    `dropout` is the probability with which a weight is 0; in evaluation it is 0.
    """
    if query.device.type == "cpu":
        return _Attention.apply(query, key_value, heads, packing, dropout)
    queries = packing.queries(query).split([b.dialogues * b.turns for b in packing.buckets], 1)
    keys = packing.key_cells(key_value).split([b.dialogues * b.keys for b in packing.buckets], 1)
    attended = []
    for q, kv, bucket in zip(queries, keys, packing.buckets, strict=True):
        q, k, v = (_by_head(x, bucket, heads) for x in (q, *kv.chunk(2, -1)))
        mask = None if bucket.mask is None else bucket.mask.repeat(len(query), 1, 1, 1)
        y = scaled_dot_product_attention(q, k, v, mask, dropout)
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


def _problems(
    packing: Packing, per_dialogue: int, queries: Sequence[Tensor], keys: Sequence[Tensor]
) -> Iterator[tuple[Bucket, list[Tensor], list[Tensor]]]:
    """Each bucket's cells (`Packing.head_cells`): one problem per stream, dialogue and head.

    Of queries as [problem, turn, feature], of keys as [key or value, problem, turn, feature].
    """
    query = key = 0
    for bucket in packing.buckets:
        count = per_dialogue * bucket.dialogues
        q = slice(query, query + count * bucket.turns)
        k = slice(key, key + 2 * count * bucket.keys)
        yield (
            bucket,
            [x[q].view(count, bucket.turns, -1) for x in queries],
            [x[k].view(2, count, bucket.keys, -1) for x in keys],
        )
        query, key = q.stop, k.stop


class _Attention(torch.autograd.Function):
    """See `attend`. Weights p lie with keys before queries: the softmax is faster this way."""

    @staticmethod
    def forward(ctx, query, key_value, heads, packing, dropout):
        streams, _, d = query.shape
        of_query, of_key = packing.head_cells(streams, heads)
        queries = query.reshape(-1, d // heads).index_select(0, of_query.index)
        queries *= (d // heads) ** -0.5
        keys = key_value.reshape(-1, d // heads).index_select(0, of_key.index)
        attended, weights, kept = torch.empty_like(queries), [], []
        problems = _problems(packing, streams * heads, (queries, attended), (keys,))
        for bucket, (q, y), ((k, v),) in problems:
            scores = torch.bmm(k, q.transpose(1, 2))
            if bucket.mask is not None:
                hidden = torch.zeros_like(bucket.mask, dtype=q.dtype)
                hidden = hidden.masked_fill_(~bucket.mask, -torch.inf).view(-1, 1, bucket.keys, 1)
                scores.view(streams, bucket.dialogues, heads, *scores.shape[1:]).add_(hidden)
            scores.sub_(scores.amax(1, keepdim=True)).exp_()
            p = scores.div_(scores.sum(1, keepdim=True))
            weights.append(p)
            if dropout:
                kept.append(draw(p, dropout))
                p = p * kept[-1]
            torch.bmm(p.transpose(1, 2), v, out=y)
        ctx.save_for_backward(queries, keys, *weights, *kept)
        ctx.heads, ctx.packing = heads, packing
        return attended.index_select(0, of_query.inverse).view_as(query)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        queries, keys, *saved = ctx.saved_tensors
        heads, packing, (streams, _, d) = ctx.heads, ctx.packing, grad.shape
        count = len(packing.buckets)
        weights, kept = saved[:count], saved[count:] or [None] * count
        of_query, of_key = packing.head_cells(streams, heads)
        # Spare cells, which no utterance reads, have no gradient.
        above = torch.zeros_like(queries)
        above.index_copy_(0, of_query.inverse, grad.reshape(-1, d // heads))
        dquery, dkey = torch.empty_like(queries), torch.empty_like(keys)
        problems = _problems(packing, streams * heads, (queries, above, dquery), (keys, dkey))
        for (_, (q, dy, dq), ((k, v), (dk, dv))), p, keep in zip(
            problems, weights, kept, strict=True
        ):
            used = p if keep is None else p * keep
            torch.bmm(used, dy, out=dv)
            ds = torch.bmm(v, dy.transpose(1, 2)).mul_(used)
            ds.addcmul_(p, ds.sum(1, keepdim=True), value=-1)
            torch.bmm(ds.transpose(1, 2), k, out=dq)
            torch.bmm(ds, q, out=dk)
        dquery *= (d // heads) ** -0.5
        return (
            dquery.index_select(0, of_query.inverse).view_as(grad),
            dkey.index_select(0, of_key.inverse).view(streams, -1, 2 * d),
            *(None, None, None),
        )
