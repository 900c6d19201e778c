"""Seeded damage to the bytes of a file."""

import random

NUMBERS = (b"0", b"-1", b"1e999", b"NaN", b"null", b"[]", b"{}", b'""', b"9" * 30)


def mutate(content: bytes, seed: int) -> bytes:
    """One kind of damage, by `seed`: bits, bytes, a cut, a repeated or removed part, or a word of JSON."""
    draw = random.Random(seed)
    place = draw.randrange(len(content) or 1)
    end = min(len(content), place + draw.choice((1, 2, 8, 64, 1024)))
    kind = draw.randrange(8)
    if kind == 0:  # a bit
        changed = bytes(byte ^ (1 << draw.randrange(8)) for byte in content[place : place + 1])
        return content[:place] + changed + content[place + 1 :]
    if kind == 1:  # random bytes
        return content[:place] + draw.randbytes(end - place) + content[end:]
    if kind == 2:  # the end is missing
        return content[:place]
    if kind == 3:  # a part is missing
        return content[:place] + content[end:]
    if kind == 4:  # a part is there twice
        return content[:end] + content[place:]
    if kind == 5:  # largest or smallest numbers
        return content[:place] + draw.choice((b"\xff", b"\0", b"\x7f")) * (end - place) + content[end:]
    if kind == 6:  # a word of JSON
        return content[:place] + draw.choice(NUMBERS) + content[end:]
    # the header alone: most of what a format means is there
    place = draw.randrange(min(len(content), 128) or 1)
    return content[:place] + draw.randbytes(1) + content[place + 1 :]
