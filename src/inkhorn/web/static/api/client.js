// @ts-check
// The interface of a client, and the choice between the two: a server over HTTP, or a model in a worker of this browser.

/**
 * @typedef {object} ModelInfo
 * @property {string} id
 * @property {string} fingerprint of the weights and their precision
 * @property {number} block_size context length in tokens
 * @property {"gpt2" | "openai-gpt"} model_type
 * @property {number} n_layer
 * @property {number} n_head
 * @property {number} n_embd
 * @property {number} vocab_size
 * @property {number} parameters
 * @property {string} backend
 *
 * @typedef {object} Schema a JSON Schema property of a sampling parameter
 * @property {string} type
 * @property {string} description
 * @property {number} [minimum]
 * @property {number} [exclusiveMinimum]
 * @property {number} [maximum]
 * @property {any} [default]
 *
 * @typedef {object} PageFacts what the page says of a model
 * @property {string} title
 * @property {string} tagline
 * @property {"play" | "plain"} layout of its texts
 * @property {{ prompt: string, label: string }[]} openings prompts to begin with
 * @property {SteeringVector[]} steering
 * @property {boolean} atlas whether there is a head atlas
 * @property {boolean} means whether there are mean activations
 * @property {TrainingFacts | null} [training] snapshots of its training run
 *
 * @typedef {{ prompt: string, seed: number, snapshots: { step: number, loss: number }[] }} TrainingFacts
 *
 * @typedef {object} SteeringVector
 * @property {string} name
 * @property {number} layer
 * @property {string} positive what it steers towards
 * @property {string} negative what it steers away from
 * @property {{ factor: number, verse: number | null, typical: number | null, perplexity: number | null }[]} effects of some factors,
 *   in ascending order, see src/inkhorn/inspection/effects.py
 *
 * @typedef {object} Atlas what the heads of a model look at, see src/inkhorn/inspection/atlas.py
 * @property {string} text
 * @property {string | null} page the address of the atlas as a page
 * @property {Record<string, string>} behaviours where a head looks, by name
 * @property {Record<string, (number | null)[][]>} scores of each behaviour, by layer and head
 *
 * @typedef {{ sampling: Record<string, Schema>, models: Record<string, PageFacts> }} PageSettings
 *
 * @typedef {object} CompletionRequest
 * @property {string} model
 * @property {string} prompt
 * @property {number} max_tokens Infinity for as many as allowed
 * @property {number | null} [max_words]
 * @property {number} [temperature]
 * @property {number} [top_k]
 * @property {number} [top_p]
 * @property {number} [min_p]
 * @property {number | null} [seed]
 * @property {string | string[]} [stop]
 * @property {number} [logprobs] alternatives returned for each token
 * @property {Intervention[]} [interventions] changes to activations
 *
 * @typedef {object} Intervention see src/inkhorn/config/interventions.py
 * @property {"head" | "attn" | "mlp" | "layer" | "resid"} component
 * @property {number} layer
 * @property {number} [head]
 * @property {"zero" | "scale" | "mean" | "patch" | "add"} [action]
 * @property {number} [factor]
 * @property {string | number[]} [vector]
 * @property {string} [prompt]
 * @property {number} [source_position]
 * @property {number} [position]
 *
 * @typedef {object} Token a generated token
 * @property {string} text the text that it completes; empty if it ends within a character
 * @property {number} logprob natural logarithm of its probability, before temperature
 * @property {[string, number][]} top the most likely tokens and their log-probabilities
 *
 * @typedef {{ text: string, tokens: Token[] }} Chunk
 * @typedef {(chunk: Chunk) => void} OnChunk
 *
 * @typedef {object} PromptChange a prompt that differs from the given one, because the model cannot read it as it is
 * @property {string} text the prompt as the model reads it
 * @property {{ character: string, replacement: string }[]} characters that are not in the vocabulary, and the replacement of
 *   each; empty if it is left out
 *
 * @typedef {(change: PromptChange) => void} OnPrompt called before the first chunk, if the prompt was changed
 * @typedef {"stop" | "length" | "abort"} FinishReason
 * @typedef {{ finish_reason: FinishReason, fingerprint: string }} CompletionResult
 *
 * @typedef {object} ExplainRequest
 * @property {string} model
 * @property {string} text
 * @property {number} layer
 * @property {number | null} [head] whose vectors are wanted
 * @property {Intervention[]} [interventions]
 * @property {boolean} [add_special_tokens] put the start token before the text, as in a text generated from an empty prompt
 *
 * @typedef {{ scale: number, data: string }} QuantizedVector base64 of int8 values, to be multiplied by the scale
 *
 * @typedef {object} ExplainResponse see src/inkhorn/inference/explain.py
 * @property {string} model
 * @property {string[]} tokens the text that each completes; joined, they are the end of the text, after a start token
 * @property {number} start
 * @property {number} n_layer
 * @property {number} n_head
 * @property {number} layer
 * @property {string} attention
 * @property {(number | null)[]} surprisal -ln p of each token, in nats; null for the first
 * @property {[string, number][]} next
 * @property {{ tokens: string[][], probs: string, actual: string }} lens
 * @property {number[][]} residual_rms root mean square of the residual stream, before the first block and after each
 * @property {{ attn: number[], mlp: number[] }} update_rms root mean square of what each layer adds to the last token's residual stream
 * @property {Record<"wte" | "wpe" | "mlp", QuantizedVector>} last
 * @property {Vectors} [vectors] if a head was named
 *
 * @typedef {object} Vectors of the last tokens, at most 8; see src/inkhorn/inference/vectors.py
 * @property {number} head
 * @property {number} first index of the first of these tokens
 * @property {number[]} ids
 * @property {number[][]} wte
 * @property {number[][]} wpe
 * @property {number[][]} q
 * @property {number[][]} k
 * @property {number[][]} v
 * @property {number[]} norm_in of the last token
 * @property {number[]} norm_out
 * @property {number[]} final
 * @property {[string, number][]} logits the 100 largest, after the last token
 * @property {number} log_sum
 *
 * @typedef {{ model: string, step: number, text: string, seed: number, max_tokens: number, layer: number }} SnapshotRequest
 * @typedef {{ text: string, explain: ExplainResponse }} SnapshotResponse what it writes after the text, and computes over it
 *
 * @typedef {Pick<ExplainRequest, "model" | "text" | "add_special_tokens" | "interventions">} ImportanceRequest
 *
 * @typedef {object} ImportanceResponse see src/inkhorn/inspection/importance.py and attribution.py
 * @property {string} model
 * @property {{ logprob: number, heads: number[][], attn: number[], mlp: number[] }} effects changes of the log-probability of
 *   the last token if a part is switched off
 * @property {{ heads: number[][], mlp: number[] } | null} direct shares of the logit; null if they are not known
 *
 * @typedef {object} Client
 * @property {() => Promise<ModelInfo[]>} models
 * @property {() => Promise<PageSettings>} settings
 * @property {(model: string) => Promise<Atlas>} atlas of a model that has one
 * @property {(request: CompletionRequest, options: { onChunk: OnChunk, onPrompt?: OnPrompt, signal?: AbortSignal }) => Promise<CompletionResult>} complete
 * @property {(request: ExplainRequest) => Promise<ExplainResponse>} explain
 * @property {(request: SnapshotRequest) => Promise<SnapshotResponse>} snapshot
 * @property {(request: ImportanceRequest, options: { onProgress: (done: number, total: number) => void }) => Promise<ImportanceResponse>} importance
 */

/** @type {Promise<Client> | undefined} */
let made;

/**
 * The page's only client, of the kind that index.html asks for: "server" or "static". After a failure the next call tries
 * again.
 * @returns {Promise<Client>}
 */
export function makeClient() {
  made ??= start().catch((error) => {
    made = undefined;
    throw error;
  });
  return made;
}

/** @returns {Promise<Client>} */
async function start() {
  const mode = document.querySelector('meta[name="inkhorn"]')?.getAttribute("content");
  const module = await (mode === "static" ? import("./worker_client.js") : import("./http.js"));
  return module.makeClient();
}

// index.html loads this file before main.js and its modules, so that the static page's worker starts to load the model
// while the browser loads those. Whoever needs the client gets the error.
makeClient().catch(() => {});
