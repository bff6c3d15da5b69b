// One text from its prompt to its end: the engine of the page without a server.

import { withCache } from "./gpt.js";
import { logProbabilities, sample, uniform } from "./sampling.js";
import { TextStream, windowStart } from "./stopping.js";

const TURN = 15; // milliseconds of work, whose tokens make one piece

/** Continue a prompt; gives "stop", "length" or "abort". `onPiece` takes what came; `turn` is awaited between pieces. */
export function write(model, request, calls) {
  return withCache(model.gpt, (cache) => writeWith(cache, model, request, calls));
}

async function writeWith(cache, { gpt, tokenizer }, request, { onPiece, turn, aborted, now = () => performance.now() }) {
  const { prompt, seed = null, logprobs = 5 } = request;
  const { end, never, bytes, texts } = tokenizer;
  const ids = tokenizer.encode(prompt);
  const stream = new TextStream(request, bytes, tokenizer.fitted(tokenizer.parts(prompt).at(-1)));
  const key = seed ?? crypto.getRandomValues(new BigUint64Array(1))[0];
  const piece = { text: "", tokens: [] };
  const held = []; // tokens whose text waits, for it may become a stop string
  let room = 0; // characters that may be shown of what is held
  let from = 0;
  let since = now();

  const send = () => {
    if (piece.tokens.length) onPiece({ text: piece.text, tokens: piece.tokens.splice(0) });
    piece.text = "";
  };
  const release = (shown) => {
    room += shown.length;
    while (held.length && (held[0].text.length <= room || (stream.reason !== null && room > 0))) {
      const token = held.shift();
      token.text = token.text.slice(0, room); // the last one may be cut off
      room -= token.text.length;
      piece.text += token.text;
      piece.tokens.push(token);
    }
  };

  while (stream.reason === null) {
    if (now() - since >= TURN) {
      send();
      await turn();
      since = now();
    }
    if (aborted()) return "abort";
    const start = windowStart(ids.length, gpt.config.block_size);
    if (start !== from) [from, cache.length] = [start, 0]; // learned positions cannot slide: the window is read again
    const place = from + cache.length;
    const logits = gpt.forward(ids[place], cache, null, place + 1 < ids.length);
    if (logits === null) continue;
    const { of, likeliest } = logProbabilities(logits, logprobs);
    const top = likeliest.map((id) => [texts[id], of(id)]);
    for (const id of never) logits[id] = -Infinity;
    const id = sample(logits, request, uniform(key, 0, ids.length));
    if (id === end) {
      stream.finish("stop");
      release(stream.held);
      break;
    }
    ids.push(id);
    const { text, shown } = stream.push(id);
    held.push({ text, logprob: of(id), top });
    release(shown);
  }
  send();
  return stream.reason;
}
