"""tiny_gguf -- writes small GGUF files from Python, and the small models of the tests, with their weights beside them,
so that a test can compute what the server must answer by other means."""
import random, struct

F32 = 0


def text(s):
    b = s.encode()
    return struct.pack("<Q", len(b)) + b


def value(v):
    if isinstance(v, bool):
        return 7, struct.pack("<B", v)
    if isinstance(v, int):
        return 4, struct.pack("<I", v)
    if isinstance(v, float):
        return 6, struct.pack("<f", v)
    if isinstance(v, str):
        return 8, text(v)
    kind = value(v[0])[0]
    return 9, struct.pack("<IQ", kind, len(v)) + b"".join(value(x)[1] for x in v)


def flat(t):
    return [x for row in t for x in row] if t and isinstance(t[0], list) else list(t)


def write(path, keys, tensors):
    """keys: name -> value; tensors: name -> a list (vector) or a list of rows, as float32."""
    out = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys))
    for k, v in keys.items():
        kind, b = value(v)
        out += text(k) + struct.pack("<I", kind) + b
    data = b""
    for name, t in tensors.items():
        matrix = isinstance(t[0], list)
        ne = [len(t[0]), len(t)] if matrix else [len(t)]
        out += text(name) + struct.pack(f"<I{len(ne)}QIQ", len(ne), *ne, F32, len(data))
        values = flat(t)
        data += struct.pack(f"<{len(values)}f", *values)
        data += b"\0" * (-len(data) % 32)
    with open(path, "wb") as f:
        f.write(out + b"\0" * (-len(out) % 32) + data)


def f32(x):
    return struct.unpack("<f", struct.pack("<f", x))[0]


def matrix(r, rows, cols, scale=0.3):
    return [[f32(r.gauss(0, scale)) for _ in range(cols)] for _ in range(rows)]


def vector(r, n, mean=0.0, scale=0.1):
    return [f32(r.gauss(mean, scale)) for _ in range(n)]


WORDS = ("the cat sat on a mat dog runs fast slow river bank money loan tree green blue red sky hello world paris "
         "france capital berlin germany city of is in").split()
VOCAB = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + ["\u2581" + w for w in WORDS] + \
        ["\u2581" + c for c in "abcdefghijklmnopqrstuvwxyz.,?!"] + list("abcdefghijklmnopqrstuvwxyz")
CLS, SEP = 2, 3


def ids_of(words):
    """Token ids of words of the list above."""
    return [VOCAB.index("\u2581" + w) for w in words.split()]


def bert(path, pooling=None, labels=0, dense=False, seed=1, dim=32, heads=2, layers=2, ffn=48, ctx=64):
    """A BERT with random weights; returns what a reference needs."""
    r = random.Random(seed)
    keys = {"general.architecture": "bert", "general.name": "tiny-bert", "bert.context_length": ctx,
            "bert.embedding_length": dim, "bert.block_count": layers, "bert.feed_forward_length": ffn,
            "bert.attention.head_count": heads, "bert.attention.layer_norm_epsilon": 1e-12,
            "bert.attention.causal": False, "tokenizer.ggml.model": "bert", "tokenizer.ggml.tokens": VOCAB,
            "tokenizer.ggml.token_type": [3] * 5 + [1] * (len(VOCAB) - 5), "tokenizer.ggml.token_type_count": 2,
            "tokenizer.ggml.bos_token_id": CLS, "tokenizer.ggml.cls_token_id": CLS,
            "tokenizer.ggml.seperator_token_id": SEP, "tokenizer.ggml.unknown_token_id": 1,
            "tokenizer.ggml.padding_token_id": 0}
    if pooling is not None:
        keys["bert.pooling_type"] = pooling
    t = {"token_embd.weight": matrix(r, len(VOCAB), dim), "token_types.weight": matrix(r, 2, dim),
         "position_embd.weight": matrix(r, ctx, dim), "token_embd_norm.weight": vector(r, dim, 1),
         "token_embd_norm.bias": vector(r, dim)}
    for i in range(layers):
        b = f"blk.{i}."
        for n in ("attn_q", "attn_k", "attn_v", "attn_output"):
            t[b + n + ".weight"], t[b + n + ".bias"] = matrix(r, dim, dim), vector(r, dim)
        t[b + "ffn_up.weight"], t[b + "ffn_up.bias"] = matrix(r, ffn, dim), vector(r, ffn)
        t[b + "ffn_down.weight"], t[b + "ffn_down.bias"] = matrix(r, dim, ffn), vector(r, dim)
        for n in ("attn_output_norm", "layer_output_norm"):
            t[b + n + ".weight"], t[b + n + ".bias"] = vector(r, dim, 1), vector(r, dim)
    if dense:
        t["cls.weight"], t["cls.bias"] = matrix(r, dim, dim), vector(r, dim)
    if labels:
        t["cls.output.weight"], t["cls.output.bias"] = matrix(r, labels, dim), vector(r, labels)
    write(path, keys, t)
    return {"t": t, "dim": dim, "heads": heads, "layers": layers, "eps": 1e-12}


def llama(path, seed=1, dim=32, heads=4, kv_heads=2, layers=2, ffn=48, ctx=128, tensors=None, extra=None):
    """A llama over the same words (a WordPiece vocabulary serves any architecture); the tensors when already made."""
    r = random.Random(seed)
    head = dim // heads
    keys = {"general.architecture": "llama", "general.name": "tiny-llama", "llama.context_length": ctx,
            "llama.embedding_length": dim, "llama.block_count": layers, "llama.feed_forward_length": ffn,
            "llama.attention.head_count": heads, "llama.attention.head_count_kv": kv_heads,
            "llama.attention.layer_norm_rms_epsilon": 1e-5, "tokenizer.ggml.model": "bert",
            "tokenizer.ggml.tokens": VOCAB, "tokenizer.ggml.token_type": [3] * 5 + [1] * (len(VOCAB) - 5),
            "tokenizer.ggml.bos_token_id": CLS, "tokenizer.ggml.eos_token_id": SEP,
            "tokenizer.ggml.cls_token_id": CLS, "tokenizer.ggml.seperator_token_id": SEP,
            "tokenizer.ggml.unknown_token_id": 1, **(extra or {})}
    if tensors is None:
        tensors = {"token_embd.weight": matrix(r, len(VOCAB), dim), "output_norm.weight": vector(r, dim, 1),
                   "output.weight": matrix(r, len(VOCAB), dim)}
        for i in range(layers):
            b = f"blk.{i}."
            tensors.update({b + "attn_norm.weight": vector(r, dim, 1), b + "ffn_norm.weight": vector(r, dim, 1),
                            b + "attn_q.weight": matrix(r, dim, dim),
                            b + "attn_k.weight": matrix(r, kv_heads * head, dim),
                            b + "attn_v.weight": matrix(r, kv_heads * head, dim),
                            b + "attn_output.weight": matrix(r, dim, dim), b + "ffn_gate.weight": matrix(r, ffn, dim),
                            b + "ffn_up.weight": matrix(r, ffn, dim), b + "ffn_down.weight": matrix(r, dim, ffn)})
    write(path, keys, tensors)
    return tensors
