#!/usr/bin/env python3
"""texted IN.gguf OUT.gguf -- a copy of a shape in which every token has text.

mkshape.py pads a vocabulary with tokens of type 5 ("unused"), which no server writes out: two thirds of what a random
qwen3-0.6b draws. Times between pieces of text are then times between every third token, and an answer may have no text
at all. Here they are ordinary tokens; nothing else differs.
"""
import re, shutil, struct, sys

KEY, NORMAL, CONTROL = b"tokenizer.ggml.token_type", 1, 3


def make(source, target):
    shutil.copyfile(source, target)
    with open(target, "r+b") as f:
        head = f.read(64 << 20)
        at = re.search(re.escape(struct.pack("<Q", len(KEY)) + KEY), head).end()
        kind, of, count = struct.unpack_from("<IIQ", head, at)
        if (kind, of) != (9, 5) or at + 16 + 4 * count > len(head):
            sys.exit(f"texted: {source}: its token types are not an array of int32 near its beginning")
        types = struct.unpack_from(f"<{count}i", head, at + 16)
        f.seek(at + 16)
        f.write(struct.pack(f"<{count}i", *(t if t == CONTROL else NORMAL for t in types)))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    make(*sys.argv[1:])
