"""A cache with room: rows keep their tokens while others come, go and grow; a token costs no copy of the cache."""

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from depictqa.inference.cache import KVCache, Pass

CPU = torch.device("cpu")


def states(rows: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random keys and values [rows, 2 heads, length, 4]."""
    return torch.randn(rows, 2, length, 4), torch.randn(rows, 2, length, 4)


def write(cache: KVCache, rows, starts, keys, values, counts=None):
    one = Pass(cache, rows, starts, counts or [keys.shape[2]] * len(rows), CPU)
    return one, one.update(keys, values, layer_idx=0)


def test_a_token_is_written_in_place():
    cache = KVCache()
    keys, values = states(3, 5)
    write(cache, [0, 1, 2], [0, 0, 0], keys, values)
    block, _ = cache.layers[0]
    for step in range(5, 60):
        token, _ = states(3, 1)
        _, (seen, _) = write(cache, [0, 1, 2], [step] * 3, token, token)
        keys = torch.cat([keys, token], dim=2)
        assert torch.equal(seen, keys)
    assert cache.layers[0][0] is block


def test_it_grows_by_a_factor_and_keeps_what_it_holds():
    cache, sizes = KVCache(), set()
    keys, _ = states(2, 1000)
    for step in range(1000):
        write(cache, [0, 1], [step] * 2, keys[:, :, [step]], keys[:, :, [step]])
        sizes.add(cache.layers[0][0].shape[2])
    assert torch.equal(cache.layers[0][0][:, :, :1000], keys)
    assert len(sizes) < 12 and max(sizes) <= 1.25 * 1001


def test_rows_of_unequal_lengths_attend_to_their_own_tokens_only():
    """Lengths 3 and 6 get 4 and 2 tokens more, in one padded pass: the same as each row by itself."""
    cache = KVCache()
    before = {0: states(1, 3), 1: states(1, 6)}
    for row, (keys, values) in before.items():
        write(cache, [row], [0], keys, values)
    keys, values = states(2, 4)
    query = torch.randn(2, 2, 4, 4)
    one, (all_keys, all_values) = write(cache, [0, 1], [3, 6], keys, values, counts=[4, 2])
    assert one.position_ids.tolist() == [[3, 4, 5, 6], [6, 7, 8, 9]]
    found = scaled_dot_product_attention(query, all_keys, all_values, attn_mask=one.mask)
    for row, count in ((0, 4), (1, 2)):
        own_keys = torch.cat([before[row][0][0], keys[row, :, :count]], dim=1)
        own_values = torch.cat([before[row][1][0], values[row, :, :count]], dim=1)
        length = own_keys.shape[1]
        mask = torch.ones(length, length).tril().bool()[-count:]
        expected = scaled_dot_product_attention(query[row, :, :count], own_keys, own_values, attn_mask=mask)
        torch.testing.assert_close(found[row, :, :count], expected)


@pytest.mark.parametrize(("starts", "length"), [([0, 0], 5), ([7, 7], 1)])
def test_plain_causal_attention_needs_no_mask(starts, length):
    assert Pass(KVCache(), [0, 1], starts, [length, length], CPU).mask is None
    assert Pass(KVCache(), [0, 1], [7, 8], [1, 1], CPU).mask is not None


def test_a_window_hides_what_is_further_back():
    mask = Pass(KVCache(), [0], [3], [2], CPU, window=3).mask
    assert mask[0, 0].int().tolist() == [[0, 1, 1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 1, 0, 0, 0]]


def test_a_row_moves_and_leaves_nothing_behind():
    cache = KVCache()
    keys, values = states(3, 4)
    write(cache, [0, 1, 2], [0] * 3, keys, values)
    cache.move(2, 0)
    assert torch.equal(cache.layers[0][0][:2, :, :4], keys[[2, 1]]) and not cache.layers[0][0][2].any()
    cache.move(1, 1)
    assert torch.equal(cache.layers[0][1][0, :, :4], values[2]) and not cache.layers[0][1][1:].any()


def test_a_prefix_is_copied_from_one_cache_to_another():
    first, second = KVCache(), KVCache()
    keys, values = states(2, 6)
    write(first, [0, 1], [0, 0], keys, values)
    prefix = first.prefix(1, 4)
    assert prefix.layers[0][0].shape == (1, 2, 4, 4)
    second.copy(prefix, 0, 3, 4)
    assert torch.equal(second.layers[0][1][3, :, :4], values[1, :, :4]) and not second.layers[0][0][:3].any()


def test_failing_to_grow_harms_no_row(monkeypatch):
    cache = KVCache()
    keys, values = states(2, 4)
    write(cache, [0, 1], [0, 0], keys, values)
    monkeypatch.setattr("depictqa.inference.cache._grown", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError()))
    with pytest.raises(torch.OutOfMemoryError):
        write(cache, [2], [0], *states(1, 500))
    assert torch.equal(cache.layers[0][0][:, :, :4], keys)
