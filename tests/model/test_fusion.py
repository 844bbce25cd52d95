"""What training leaves out changes nothing: the whole decoder, every token and mask in place, gives the same."""

import pytest
import torch

from conftest import golden
from depictqa.model.fusion import IGNORE, Fused, collate, for_training

END = 2  # hidden


def sample(*texts: tuple[list[int], bool]) -> Fused:
    fused = Fused()
    fused.add_text([1, 30, END, 31])  # a prefix keeps its ends visible
    fused.add_image(torch.zeros(3, 64))
    for ids, is_target in texts:
        fused.add_text(ids, is_target, END)
    return fused


ONE_TURN = sample(([END, 5, 6], False), ([7, 8, END], True))
TWO_TURNS = sample(([END, 5], False), ([7, END], True), ([END, 9, 9], False), ([8, 8, END], True))
AN_END_WITHIN = sample(([END, 5], False), ([7, END, 8, 9, END], True))
NO_TARGET = sample(([END, 5, 6, 7], False))
LONG = sample(([END, *range(3, 30)] * 10, False), ([7, 8, END], True))


@pytest.mark.parametrize(
    "samples, masked",
    [
        ([ONE_TURN], False),
        ([ONE_TURN, TWO_TURNS, NO_TARGET], False),
        ([AN_END_WITHIN, ONE_TURN], True),
        ([NO_TARGET], False),
        ([LONG, ONE_TURN], False),
    ],
)
def test_hidden_states_and_gradients_are_those_of_the_whole_decoder(samples, masked, tiny_model):
    model = tiny_model("base")[0].eval()
    llama = model.llm.get_base_model()
    decoder = llama.model
    whole = collate(samples, model.embed_tokens, padding_side="right")
    generator = torch.Generator().manual_seed(0)
    whole.inputs_embeds = torch.randn(whole.inputs_embeds.shape, generator=generator).requires_grad_()
    batch = for_training(samples, whole)
    assert (batch.mask.ndim == 4) == masked
    kept = {"inputs_embeds": batch.inputs_embeds, "attention_mask": batch.mask, "position_ids": batch.position_ids}
    ours = decoder(**kept, use_cache=False).last_hidden_state[batch.rows, batch.places]
    length = whole.inputs_embeds.shape[1]
    mask = torch.ones(length, length, dtype=torch.bool).tril() & whole.attention_mask.bool()[:, None, None]
    expected = decoder(inputs_embeds=whole.inputs_embeds, attention_mask=mask, use_cache=False).last_hidden_state
    expected = expected[:, :-1][whole.labels[:, 1:] != IGNORE]
    assert torch.equal(batch.targets, whole.labels[whole.labels != IGNORE])
    torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-4)
    lora = [p for name, p in model.named_parameters() if ".lora_" in name]
    for values in (whole.inputs_embeds, *lora):
        gradients = [torch.autograd.grad(out.square().sum(), values, retain_graph=True)[0] for out in (ours, expected)]
        torch.testing.assert_close(*gradients, atol=1e-4, rtol=1e-3)


def test_every_golden_conversation_needs_no_mask(tiny_model):
    """The published conversations hide ends only where nothing is predicted from them."""
    for case in golden("prompts/train.json"):
        fused = Fused()
        hidden = set(case["fused_attention_mask_zeros"] or [])
        for place, (token, target) in enumerate(zip(case["fused_ids"], case["fused_targets"], strict=True)):
            fused.add_text([abs(token)], target != IGNORE, abs(token) if place in hidden else None)
        assert fused.needed == [place for place in range(len(fused)) if place not in hidden]
