#!/usr/bin/env python3
"""vectors -- writes tests/kern/vectors.h: random blocks of every quantised format and what they mean.

The expected floats come from the Python package `gguf` (its own dequantisers), not from us. To make them again:
    python3 -m venv /tmp/v && /tmp/v/bin/pip install gguf==0.19.0 numpy
    /tmp/v/bin/python tools/kern/vectors.py > tests/kern/vectors.h
"""
import numpy as np
from gguf import quants
from gguf.constants import GGMLQuantizationType as T

# name, number in files, blocks, byte offsets of the f16 values in a block
FORMATS = [("Q4_0", 2, 3, [0]), ("Q4_1", 3, 3, [0, 2]), ("Q5_0", 6, 3, [0]), ("Q5_1", 7, 3, [0, 2]),
           ("Q8_0", 8, 3, [0]), ("IQ4_NL", 20, 3, [0]), ("MXFP4", 39, 3, []), ("Q2_K", 10, 1, [80, 82]),
           ("Q3_K", 11, 1, [108]), ("Q4_K", 12, 1, [0, 2]), ("Q5_K", 13, 1, [0, 2]), ("Q6_K", 14, 1, [208]),
           ("IQ4_XS", 23, 1, [0])]


def rows(values, form, per):
    for i in range(0, len(values), per):
        print("    " + " ".join(form % v + "," for v in values[i:i + per]))


rng = np.random.default_rng(20260101)
print("/* vectors -- random blocks and what the Python gguf package reads in them: made by tools/kern/vectors.py. */")
for name, number, blocks, halves in FORMATS:
    size = quants.GGML_QUANT_SIZES[T(number)][1]
    data = rng.integers(0, 256, (blocks, size), dtype=np.uint8)
    for b in range(blocks):
        for at in halves:
            data[b, at:at + 2] = np.frombuffer(np.float16(rng.normal() * 0.05).tobytes(), np.uint8)
    if name == "MXFP4":
        data[:, 0] = [0, 1, 120]
    want = quants.dequantize(data.reshape(-1), T(number)).astype(np.float32)
    print(f"static const unsigned char {name.lower()}_bytes[] = {{")
    rows(data.reshape(-1).tolist(), "%d", 24)
    print(f"}};\nstatic const uint32_t {name.lower()}_want[] = {{")
    rows(want.reshape(-1).view(np.uint32).tolist(), "0x%08x", 9)
    print("};")
print("static const struct { enum kern_type type; const unsigned char *bytes; const uint32_t *want; size_t n; }\n"
      "vectors[] = {")
for name, *_ in FORMATS:
    low = name.lower()
    print(f"    {{ KERN_{name}, {low}_bytes, {low}_want, sizeof {low}_want / 4 }},")
print("};")
