"""tiny_llama -- writes a llama with random weights and a byte-level vocabulary: a model for tests that serve several."""
import array, random, struct

DIM, HEADS, HEAD, FFN, LAYERS = 64, 4, 16, 96, 2


def _string(s):
    b = s if isinstance(s, bytes) else s.encode()
    return struct.pack("<Q", len(b)) + b


def _key(name, kind, payload):
    return _string(name) + struct.pack("<I", kind) + payload


def _byte_alphabet():
    """GPT-2's printable stand-in for each byte."""
    plain = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    out, n = [], 0
    for b in range(256):
        if b in plain:
            out.append(chr(b))
        else:
            out.append(chr(256 + n))
            n += 1
    return out


def write(path, seed, ctx=256, ffn=FFN, layers=LAYERS):
    rng = random.Random(seed)
    tokens = _byte_alphabet() + ["<|end|>", "th"]
    vocab = len(tokens)
    texts = lambda v: struct.pack("<IQ", 8, len(v)) + b"".join(_string(s) for s in v)
    u32 = lambda v: struct.pack("<I", v)
    keys = [_key("general.architecture", 8, _string("llama")), _key("general.name", 8, _string(f"tiny {seed}"))]
    for name, v in (("context_length", ctx), ("embedding_length", DIM), ("block_count", layers),
                    ("feed_forward_length", ffn), ("attention.head_count", HEADS), ("attention.head_count_kv", 2),
                    ("vocab_size", vocab)):
        keys.append(_key("llama." + name, 4, u32(v)))
    keys += [_key("llama.attention.layer_norm_rms_epsilon", 6, struct.pack("<f", 1e-5)),
             _key("tokenizer.ggml.model", 8, _string("gpt2")), _key("tokenizer.ggml.pre", 8, _string("gpt-2")),
             _key("tokenizer.ggml.tokens", 9, texts(tokens)), _key("tokenizer.ggml.merges", 9, texts(["t h"])),
             _key("tokenizer.ggml.token_type", 9, struct.pack("<IQ", 5, vocab) +
                  struct.pack(f"<{vocab}i", *([1] * 256 + [3, 1]))),
             _key("tokenizer.ggml.eos_token_id", 4, u32(256)),
             _key("tokenizer.chat_template", 8, _string("{% for m in messages %}{{ m.content }}{% endfor %}"))]
    shapes = []
    for l in range(layers):
        for name, rows, cols in (("attn_norm", 0, DIM), ("ffn_norm", 0, DIM), ("attn_q", HEADS * HEAD, DIM),
                                 ("attn_k", 2 * HEAD, DIM), ("attn_v", 2 * HEAD, DIM),
                                 ("attn_output", DIM, HEADS * HEAD), ("ffn_gate", ffn, DIM), ("ffn_up", ffn, DIM),
                                 ("ffn_down", DIM, ffn)):
            shapes.append((f"blk.{l}.{name}.weight", rows, cols))
    shapes += [("token_embd.weight", vocab, DIM), ("output_norm.weight", 0, DIM), ("output.weight", vocab, DIM)]
    infos, data = b"", b""
    for name, rows, cols in shapes:
        n = cols * (rows or 1)
        values = array.array("f", [rng.uniform(-.3, .3) if rows else 1.0 for _ in range(n)])
        infos += _string(name) + struct.pack("<I", 2 if rows else 1) + struct.pack("<Q", cols)
        infos += (struct.pack("<Q", rows) if rows else b"") + struct.pack("<IQ", 0, len(data))
        data += values.tobytes() + b"\0" * (-4 * n % 32)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(shapes), len(keys)) + b"".join(keys) + infos
    with open(path, "wb") as f:
        f.write(head + b"\0" * (-len(head) % 32) + data)
