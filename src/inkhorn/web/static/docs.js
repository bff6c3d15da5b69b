// The API's description, made readable: every path, its fields, and a call to try.

function element(name, text, ...children) {
  const made = document.createElement(name);
  if (text) made.textContent = text;
  made.append(...children);
  return made;
}

const EXAMPLES = {
  "/v1/completions": { prompt: "ROMEO:", max_words: 40, temperature: 0.8, seed: 7 },
  "/v1/chat/completions": { messages: [{ role: "user", content: "ROMEO:" }], max_tokens: 200, seed: 7 },
  "/tokenize": { prompt: "ROMEO:" },
  "/detokenize": { tokens: [30, 27, 25] },
  "/api/explain": { text: "ROMEO:", layer: 0 },
};

function typeOf(field, schemas) {
  if (field.$ref) return typeOf(schemas[field.$ref.split("/").pop()], schemas);
  if (field.anyOf) return [...new Set(field.anyOf.map((one) => typeOf(one, schemas)))].join(" or ");
  if (field.const !== undefined) return JSON.stringify(field.const);
  if (field.type === "array") return `list of ${typeOf(field.items ?? {}, schemas)}`;
  const low = field.minimum ?? field.exclusiveMinimum;
  const high = field.maximum ?? field.exclusiveMaximum;
  const range = low === undefined ? "" : high === undefined ? `, from ${low}` : `, ${low} to ${high}`;
  return (field.type ?? "anything") + range;
}

function fieldsOf(schema, schemas) {
  const list = element("dl");
  for (const [name, field] of Object.entries(schema.properties ?? {})) {
    const kind = typeOf(field, schemas);
    const usual = field.default === undefined || field.default === null ? "" : `; ${JSON.stringify(field.default)} by default`;
    const needed = schema.required?.includes(name) ? "; needed" : "";
    list.append(element("dt", `${name} `, element("small", kind + usual + needed)), element("dd", field.description ?? ""));
  }
  return list;
}

function pathOf(path, method, what, schemas, base) {
  const title = element("summary", "", element("code", `${method.toUpperCase()} ${path} `), element("span", what.description ?? ""));
  const details = element("details", "", title);
  const body = what.requestBody?.content["application/json"].schema;
  const url = new URL(path.slice(1), base);
  if (body) {
    details.append(fieldsOf(schemas[body.$ref.split("/").pop()], schemas));
    const data = JSON.stringify(EXAMPLES[path] ?? {}).replaceAll("'", "'\\''");
    details.append(element("pre", `curl ${url} -H 'Content-Type: application/json' -d '${data}'`));
  } else details.append(element("pre", `curl ${url}`));
  return details;
}

const base = new URL("./", location.href);
document.querySelector("#base").textContent = new URL("v1", base).href;
try {
  const answer = await fetch("openapi.json");
  if (!answer.ok) throw new Error(`openapi.json: ${answer.status}`);
  const description = await answer.json();
  const entries = Object.entries(description.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, what]) => pathOf(path, method, what, description.components.schemas, base)));
  document.querySelector("#paths").append(...entries);
} catch (error) {
  document.querySelector("#paths").append(element("p", `The description cannot be read: ${error.message}`));
}
