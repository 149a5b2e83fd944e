"""Chance that nobody can repeat: a generator whose state comes from the operating system and from no seed."""

import secrets

import torch

MERSENNE_WORDS, MERSENNE_PLACE = 624, 24
"""The Mersenne Twister's words, and the bytes that stand before them in the state of a CPU generator: its seed and where it is."""


def secret_generator(device: torch.device) -> torch.Generator:
    """A generator on `device` that is drawn anew at each call. Who has its state has the secret; there is nothing else to have.

    On the CPU each of the Mersenne Twister's 624 words of 32 bits is drawn. A seed would not do there: `manual_seed` keeps the lower 32 bits of
    it, and so many seeds can all be tried. On other devices the 64 bits of the seed are the key of Philox. Neither generator is one for
    cryptography: what it has drawn must stay as hidden as its state.
    """
    generator = torch.Generator(device)
    if device.type != "cpu":
        return generator.manual_seed(secrets.randbits(64))
    state = torch.Generator().get_state()
    drawn = torch.frombuffer(bytearray(secrets.token_bytes(4 * MERSENNE_WORDS)), dtype=torch.uint32)
    words_of(state).copy_(drawn.to(torch.int64))
    return generator.set_state(state)


def words_of(state: torch.Tensor) -> torch.Tensor:
    """The words in a CPU generator's state (bytes,) uint8, as a view of it: (624,) int64, each in [0, 2³²)."""
    return state[MERSENNE_PLACE : MERSENNE_PLACE + 8 * MERSENNE_WORDS].view(torch.int64)
