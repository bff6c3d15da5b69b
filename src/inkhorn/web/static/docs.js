// @ts-check
// The API reference, from openapi.json: every path, its parameters, and a command to try it.

import { initTheme } from "./views/theme.js";

/**
 * @typedef {Record<string, any>} Schema
 * @typedef {Record<string, Schema>} Schemas
 */

/**
 * @param {string} name
 * @param {string} text
 * @param {...Node} children
 */
function element(name, text, ...children) {
  const made = document.createElement(name);
  if (text) made.textContent = text;
  made.append(...children);
  return made;
}

/**
 * A request body for each path, with a prompt that suits the first model.
 * @param {string} prompt
 * @returns {Record<string, object>}
 */
const exampleBodies = (prompt) => ({
  "/v1/completions": { prompt, max_words: 40, temperature: 0.8, seed: 7 },
  "/v1/chat/completions": { messages: [{ role: "user", content: prompt }], max_tokens: 200, seed: 7 },
  "/tokenize": { prompt },
  "/detokenize": { tokens: [30, 27, 25] },
  "/api/explain": { text: prompt, layer: 0 },
});

/** A prompt of the first model; a plain one if it has none, or if the server requires a key. */
async function firstPrompt() {
  const response = await fetch("api/settings");
  const models = response.ok ? (await response.json()).models : {};
  return Object.values(models)[0]?.openings[0]?.prompt ?? "The";
}

/** @type {(field: Schema, schemas: Schemas) => Schema} */
const resolve = (field, schemas) => (field.$ref ? schemas[field.$ref.split("/").pop()] : field);

/** @type {(field: Schema, schemas: Schemas) => string} */
function typeOf(field, schemas) {
  if (field.$ref) return typeOf(resolve(field, schemas), schemas);
  if (field.anyOf) return [...new Set(field.anyOf.map((/** @type {Schema} */ one) => typeOf(one, schemas)))].join(" or ");
  if (field.const !== undefined) return JSON.stringify(field.const);
  if (field.enum) return field.enum.map((/** @type {unknown} */ value) => JSON.stringify(value)).join(" or ");
  if (field.type === "array") return `array of ${typeOf(field.items ?? {}, schemas)}`;
  return [field.type ?? "any", ...rangeOf(field)].join(", ");
}

/** @type {(field: Schema) => string[]} */
function rangeOf({ minimum, exclusiveMinimum, maximum }) {
  if (minimum !== undefined) return [maximum === undefined ? `at least ${minimum}` : `${minimum} to ${maximum}`];
  const bounds = [];
  if (exclusiveMinimum !== undefined) bounds.push(`above ${exclusiveMinimum}`);
  if (maximum !== undefined) bounds.push(`at most ${maximum}`);
  return bounds;
}

/**
 * An element whose text may contain `code`.
 * @type {(name: string, text: string) => HTMLElement}
 */
function prose(name, text) {
  const parts = text.split("`").map((part, i) => (i % 2 ? element("code", part) : document.createTextNode(part)));
  return element(name, "", ...parts);
}

/** @type {(schema: Schema, schemas: Schemas) => HTMLElement} */
function parametersOf(schema, schemas) {
  const list = element("dl", "");
  for (const [name, field] of Object.entries(schema.properties ?? {})) {
    const standard = field.default === undefined || field.default === null ? "" : `, default ${JSON.stringify(field.default)}`;
    const required = schema.required?.includes(name) ? ", required" : "";
    const about = element("small", typeOf(field, schemas) + standard + required);
    list.append(element("dt", `${name} `, about), prose("dd", field.description ?? ""));
  }
  return list;
}

/** @type {(path: string, method: string, operation: Schema, schemas: Schemas, examples: Record<string, object>) => HTMLElement} */
function operationOf(path, method, operation, schemas, examples) {
  const title = element("summary", "", element("code", `${method.toUpperCase()} ${path} `), prose("span", operation.description ?? ""));
  const details = element("details", "", title);
  const body = operation.requestBody?.content["application/json"].schema;
  const url = new URL(path.slice(1), base);
  if (body) {
    details.append(parametersOf(resolve(body, schemas), schemas));
    const data = JSON.stringify(examples[path] ?? {}).replaceAll("'", "'\\''");
    details.append(element("pre", `curl ${url} -H 'Content-Type: application/json' -d '${data}'`));
  } else details.append(element("pre", `curl ${url}`));
  return details;
}

/**
 * @param {string} selector
 * @param {string | Node} content
 */
const add = (selector, content) => document.querySelector(selector)?.append(content);

initTheme();
const base = new URL("./", location.href);
add("#base", new URL("v1", base).href);
try {
  const response = await fetch("openapi.json");
  if (!response.ok) throw new Error(`status ${response.status}`);
  const api = await response.json();
  const examples = exampleBodies(await firstPrompt());
  for (const [path, operations] of Object.entries(api.paths)) {
    for (const [method, operation] of Object.entries(operations)) add("#paths", operationOf(path, method, operation, api.components.schemas, examples));
  }
} catch (error) {
  add("#paths", element("p", `openapi.json could not be loaded: ${error.message}`));
}
