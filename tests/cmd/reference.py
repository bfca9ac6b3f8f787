"""reference -- forward passes in plain Python, in double precision, written from the papers: what tests compare with."""
import math


def mul(w, x, bias=None):
    return [sum(a * b for a, b in zip(row, x)) + (bias[i] if bias else 0) for i, row in enumerate(w)]


def layer_norm(x, weight, bias, eps):
    mean = sum(x) / len(x)
    var = sum((v - mean) ** 2 for v in x) / len(x)
    return [(v - mean) / math.sqrt(var + eps) * w + b for v, w, b in zip(x, weight, bias)]


def gelu(x):
    return 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3)))


def softmax(v):
    top = max(v)
    e = [math.exp(x - top) for x in v]
    return [x / sum(e) for x in e]


def bert_states(m, ids, second=0):
    """The last hidden state of every token; tokens from `second` on are of the second segment."""
    t, dim, heads = m["t"], m["dim"], m["heads"]
    size = dim // heads
    x = []
    for i, token in enumerate(ids):
        segment = 1 if second and i >= second else 0
        v = [a + b + c for a, b, c in zip(t["token_embd.weight"][token], t["token_types.weight"][segment],
                                          t["position_embd.weight"][i])]
        x.append(layer_norm(v, t["token_embd_norm.weight"], t["token_embd_norm.bias"], m["eps"]))
    for layer in range(m["layers"]):
        w = lambda name: t[f"blk.{layer}.{name}.weight"]
        b = lambda name: t[f"blk.{layer}.{name}.bias"]
        q, k, v = ([mul(w("attn_" + n), r, b("attn_" + n)) for r in x] for n in "qkv")
        out = []
        for i in range(len(x)):
            row = []
            for h in range(heads):
                part = slice(h * size, (h + 1) * size)
                p = softmax([sum(a * c for a, c in zip(q[i][part], k[j][part])) / math.sqrt(size)
                             for j in range(len(x))])
                row += [sum(p[j] * v[j][part][d] for j in range(len(x))) for d in range(size)]
            out.append(mul(w("attn_output"), row, b("attn_output")))
        x = [layer_norm([a + c for a, c in zip(r, o)], w("attn_output_norm"), b("attn_output_norm"), m["eps"])
             for r, o in zip(x, out)]
        y = [mul(w("ffn_down"), [gelu(u) for u in mul(w("ffn_up"), r, b("ffn_up"))], b("ffn_down")) for r in x]
        x = [layer_norm([a + c for a, c in zip(r, o)], w("layer_output_norm"), b("layer_output_norm"), m["eps"])
             for r, o in zip(x, y)]
    return x


def bert_score(m, ids, second):
    """What the classification head says of a pair."""
    t, x = m["t"], bert_states(m, ids, second)[0]
    if "cls.weight" in t:
        x = [math.tanh(v) for v in mul(t["cls.weight"], x, t["cls.bias"])]
    return mul(t["cls.output.weight"], x, t["cls.output.bias"])


def unit(v):
    n = math.sqrt(sum(x * x for x in v))
    return [x / n for x in v]


def mean(rows):
    return [sum(c) / len(rows) for c in zip(*rows)]


def cosine(a, b):
    return sum(x * y for x, y in zip(unit(a), unit(b)))


def rms_norm(x, weight, eps):
    scale = 1 / math.sqrt(sum(v * v for v in x) / len(x) + eps)
    return [v * scale * w for v, w in zip(x, weight)]


def rotate(x, pos, size):
    """Neighbouring pairs of each head turn (llama)."""
    out = list(x)
    for h in range(0, len(x), size):
        for i in range(0, size, 2):
            a = pos * 10000.0 ** (-i / size)
            c, s = math.cos(a), math.sin(a)
            out[h + i], out[h + i + 1] = x[h + i] * c - x[h + i + 1] * s, x[h + i] * s + x[h + i + 1] * c
    return out


def llama_states(t, ids, heads=4, kv_heads=2, layers=2, eps=1e-5):
    """The last hidden state of every token, after the last norm."""
    dim = len(t["token_embd.weight"][0])
    size, group = dim // heads, heads // kv_heads
    x = [list(t["token_embd.weight"][i]) for i in ids]
    for layer in range(layers):
        w = lambda name: t[f"blk.{layer}.{name}.weight"]
        h = [rms_norm(r, w("attn_norm"), eps) for r in x]
        q = [rotate(mul(w("attn_q"), r), i, size) for i, r in enumerate(h)]
        k = [rotate(mul(w("attn_k"), r), i, size) for i, r in enumerate(h)]
        v = [mul(w("attn_v"), r) for r in h]
        for i in range(len(x)):
            row = []
            for head in range(heads):
                mine, theirs = slice(head * size, (head + 1) * size), head // group * size
                p = softmax([sum(a * b for a, b in zip(q[i][mine], k[j][theirs:theirs + size])) / math.sqrt(size)
                             for j in range(i + 1)])
                row += [sum(p[j] * v[j][theirs + d] for j in range(i + 1)) for d in range(size)]
            x[i] = [a + b for a, b in zip(x[i], mul(w("attn_output"), row))]
        for i, r in enumerate(x):
            f = rms_norm(r, w("ffn_norm"), eps)
            gate = [g / (1 + math.exp(-g)) * u for g, u in zip(mul(w("ffn_gate"), f), mul(w("ffn_up"), f))]
            x[i] = [a + b for a, b in zip(r, mul(w("ffn_down"), gate))]
    return [rms_norm(r, t["output_norm.weight"], eps) for r in x]
