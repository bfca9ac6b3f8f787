// node_llama -- one run of llama.cpp as node-llama-cpp packages it: prefill of P tokens, then N tokens decoded.
// usage: node node_llama.mjs MODEL P N THREADS REPEATS -> {"engine","pp":[tokens/s...],"tg":[...]}
import { getLlama } from "node-llama-cpp";

const [file, p, n, threads, repeats] = [process.argv[2], ...process.argv.slice(3).map(Number)];
const llama = await getLlama({ gpu: false, build: "never", logLevel: "error", maxThreads: threads });
const model = await llama.loadModel({ modelPath: file });
const context = await model.createContext({ contextSize: p + n + 64, batchSize: 512, threads });
const sequence = context.getSequence();
const tokens = Array.from({ length: p }, (_, i) => (i * 7919 + 13) % 20000 + 100);
const pp = [], tg = [];
for (let round = -1; round < repeats; round++) {
  await sequence.clearHistory();
  let start = performance.now();
  await sequence.evaluateWithoutGeneratingNewTokens(tokens);
  const prefill = p / ((performance.now() - start) / 1000);
  let count = 0;
  for await (const _ of sequence.evaluate([100], { temperature: 0, tokenBias: undefined })) {
    if (count === 0) start = performance.now(); // the first token is not counted: caches are cold
    if (count++ === n) break;
  }
  const decode = (count - 1) / ((performance.now() - start) / 1000);
  if (round >= 0) { pp.push(prefill); tg.push(decode); }
}
console.log(JSON.stringify({ engine: "node-llama-cpp", pp, tg }));
process.exit(0);
