"""Llama's layers as training runs them: the last one works only where something is learned.

Every position of the last layer but the answers' would be computed for nothing: only its keys and values are needed.
"""

import torch
from torch.nn import functional as F
from transformers.models.llama.modeling_llama import LlamaDecoderLayer, LlamaModel, apply_rotary_pos_emb

from depictqa.model.fusion import TrainingBatch


def hidden_states_at(decoder: LlamaModel, batch: TrainingBatch) -> torch.Tensor:
    """The decoder's output where a target is predicted: [targets of the batch, D]."""
    *layers, last = decoder.layers
    rotation = decoder.rotary_emb(batch.inputs_embeds, position_ids=batch.position_ids)  # 2 x [B, T, head size]
    hidden = batch.inputs_embeds
    for layer in layers:
        hidden = layer(hidden, attention_mask=batch.mask, position_embeddings=rotation)
    return decoder.norm(_layer_at(last, hidden, rotation, batch))


def _layer_at(layer: LlamaDecoderLayer, hidden: torch.Tensor, rotation, batch: TrainingBatch) -> torch.Tensor:
    """A decoder layer's output where a target is predicted: [targets of the batch, D]."""
    device, attention = hidden.device, layer.self_attn
    counts = batch.rows.bincount(minlength=len(hidden))
    column = torch.cat([torch.arange(count) for count in counts.tolist()])  # [n]: a row's first, second, ... position
    queries = torch.zeros(len(hidden), max(1, int(counts.max())), dtype=torch.long)  # [B, Q], filled up with zeros
    queries[batch.rows, column] = batch.places
    rows, column, queries = (index.to(device, non_blocking=True) for index in (batch.rows, column, queries))
    samples = torch.arange(len(hidden), device=device)[:, None]  # [B, 1]

    def heads(states: torch.Tensor) -> torch.Tensor:
        return states.unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)  # [B, heads, T or Q, head size]

    normed = layer.input_layernorm(hidden)
    key, value = heads(attention.k_proj(normed)), heads(attention.v_proj(normed))
    query = heads(attention.q_proj(normed[samples, queries]))
    cos, sin = rotation
    query, _ = apply_rotary_pos_emb(query, query, cos[samples, queries], sin[samples, queries])
    _, key = apply_rotary_pos_emb(key, key, cos, sin)
    if batch.mask is None:
        seen = torch.arange(hidden.shape[1], device=device) <= queries[:, None, :, None]  # [B, 1, Q, T]
    else:
        seen = batch.mask[samples, 0, queries][:, None]
    attended = F.scaled_dot_product_attention(
        query, key, value, attn_mask=seen, scale=attention.scaling, enable_gqa=query.shape[1] != key.shape[1]
    )  # [B, heads, Q, head size]
    attended = attention.o_proj(attended.transpose(1, 2).flatten(2)[rows, column])  # [n, D]
    attended = hidden[rows, queries[rows, column]] + attended
    return attended + layer.mlp(layer.post_attention_layernorm(attended))
