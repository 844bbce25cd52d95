"""Which prompts are read together, and what they have in common."""

import pytest
import torch

from depictqa.inference import sharing
from depictqa.model.fusion import Fused

REFERENCE, A, B = torch.zeros(300, 2), torch.zeros(200, 2), torch.zeros(100, 2)


def prompt(*parts) -> Fused:
    """Images between texts, as a task's prompt has them; a text is a list of token ids."""
    fused = Fused()
    for part in parts:
        fused.add_image(part) if isinstance(part, torch.Tensor) else fused.add_text(part)
    return fused


def test_the_text_before_the_first_image_is_always_shared():
    assert sharing.shared_prefixes([prompt([1, 2], A, [3])]) == [[((1, 2),)]]
    assert sharing.shared_prefixes([prompt([1, 2])]) == [[]]  # no image, nothing that others could have, too


def test_images_are_shared_where_that_saves_enough_tokens():
    """A pass for the reference, 301 tokens, saves 602 for three prompts; one for Image A saves 201 for two."""
    prompts = [prompt([1], REFERENCE, [2], A, [3], B, [4]) for _ in range(2)] + [prompt([1], REFERENCE, [2], B, [4])]
    text, reference = ((1,),), ((1,), id(REFERENCE), (2,))
    assert sharing.shared_prefixes(prompts) == [[text, reference]] * 3
    assert sharing.prefix_length(prompts[0], reference) == 302
    assert sharing.shared_prefixes(prompts[:2]) == [[text]] * 2


@pytest.mark.parametrize(
    ("lengths", "groups"),
    [
        ([10, 12, 11], [[0, 2, 1]]),
        ([1, 1, 900], [[0, 1], [2]]),  # 1798 tokens of padding cost more than a pass
        ([300, 1, 301], [[1, 0, 2]]),  # 301 do not
        ([2000, 2000, 2000], [[0, 1], [2]]),  # at most 4096 tokens
        ([5000], [[0]]),  # but a prompt is not cut
        ([], []),
    ],
)
def test_sequences_of_like_lengths_share_a_pass(lengths, groups):
    assert sharing.passes(dict(enumerate(lengths))) == groups


def test_what_two_prompts_have_in_common():
    first = prompt([1, 2], A, [3, 4, 5])
    assert sharing.shared_tokens(first, prompt([1, 2], A, [3, 4, 9, 9])) == 204
    assert sharing.shared_tokens(first, prompt([1, 2], A.clone(), [3, 4, 5])) == 2  # another tensor, another image
    assert sharing.shared_tokens(first, prompt([7, 2], A, [3, 4, 5])) == 0


def test_a_cut_keeps_the_tokens_in_between():
    cut = sharing.cut(prompt([1, 2, 3], A, [4, 5, 6]), 2, 205)
    assert cut.segments[0] == [3] and cut.segments[2] == [4, 5] and len(cut) == 203
    assert cut.segments[1].data_ptr() == A.data_ptr()
    assert sharing.cut(prompt([1], A), 51).segments[0].shape == (150, 2)
