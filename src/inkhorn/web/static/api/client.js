// Who does the writing: a server, or the browser itself. index.html says which, and both are asked in the same way.

export async function makeClient() {
  const where = document.querySelector('meta[name="inkhorn"]').content;
  const { makeClient: make } = await import(where === "static" ? "./worker_client.js" : "./http.js");
  return make();
}
