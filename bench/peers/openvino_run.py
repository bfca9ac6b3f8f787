"""openvino_run -- one timed run of OpenVINO GenAI on a GGUF file: prefill of about P tokens, then N decoded.

usage: openvino_run.py MODEL P N THREADS -> {"prefill_per_s", "decode_per_s", "prompt_tokens"}
The first run warms the graph up and is not counted; the prompt of the second differs from it.
"""
import json, sys
import openvino_genai as genai

model, p, n, threads = sys.argv[1], *map(int, sys.argv[2:5])
pipe = genai.LLMPipeline(model, "CPU", INFERENCE_NUM_THREADS=threads)
config = genai.GenerationConfig()
config.max_new_tokens, config.ignore_eos, config.do_sample = n, True, False
config.apply_chat_template = False
words = "north stone water seven green paper early table light under river human".split()


def prompt(seed):
    return " ".join(words[(i * 7 + i // 5 + seed) % len(words)] for i in range(p - 1))


pipe.generate([prompt(1)], config)
m = pipe.generate([prompt(2)], config).perf_metrics
count = m.get_num_input_tokens()
print(json.dumps({"prefill_per_s": count * 1e3 / m.get_ttft().mean, "prompt_tokens": count,
                  "decode_per_s": 1e3 / m.get_tpot().mean if n > 1 else None}))
