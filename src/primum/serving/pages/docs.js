"use strict";
// Draws the OpenAPI description of this server, and tries its paths. Values reach the page as text only, never as HTML.

const VERBS = ["get", "post", "put", "delete"], DEPTH = 6, JSON_KIND = "application/json";
const within = (node, name) => node.querySelector(`[data-put=${name}]`);

function made(name, text, attributes = {}) {
  const node = document.createElement(name);
  if (text !== undefined) node.textContent = text;
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return node;
}

function resolved(schema, api) {
  const name = schema && schema.$ref && schema.$ref.split("/").pop();
  return name ? api.components.schemas[name] : schema || {};
}

// A value that a schema describes: its own example where it has one, else the least of its kind.
function example(given, api, depth = 0) {
  const schema = resolved(given, api);
  if (schema.examples) return schema.examples[0];
  if (schema.enum) return schema.enum[0];
  if (schema.oneOf) return example(schema.oneOf[0], api, depth);
  const kind = Array.isArray(schema.type) ? schema.type[0] : schema.type;
  if (kind === "object") {
    const known = depth < DEPTH ? Object.entries(schema.properties || {}) : [];
    const needed = known.filter(([name]) => !schema.required || schema.required.includes(name));
    return Object.fromEntries(needed.map(([name, part]) => [name, example(part, api, depth + 1)]));
  }
  if (kind === "array") return depth < DEPTH && schema.items ? [example(schema.items, api, depth + 1)] : [];
  return { integer: schema.minimum || 0, number: 0, boolean: false, string: "" }[kind] ?? null;
}

function field(parameter) {
  const label = made("label", parameter.name), known = (parameter.schema || {}).examples || [];
  const input = made("input", undefined, { name: parameter.name, "data-in": parameter.in, autocomplete: "off" });
  input.required = Boolean(parameter.required);
  if (known.length) input.value = known[0];
  label.title = parameter.description || "";
  label.append(input);
  return label;
}

// Under which name a form holds files: its only part.
const part = (content, api) => Object.keys(resolved(content.schema, api).properties || {})[0];

function asked(form, path, verb) {
  const url = { path, query: [] }, headers = {};
  for (const input of form.querySelectorAll("input[data-in]")) {
    if (!input.value) continue;
    if (input.dataset.in === "path") url.path = url.path.replace(`{${input.name}}`, encodeURIComponent(input.value));
    else if (input.dataset.in === "query") url.query.push(`${input.name}=${encodeURIComponent(input.value)}`);
    else headers[input.name] = input.value;
  }
  const body = within(form, "body"), file = body.querySelector("input[type=file]");
  const kind = body.hidden ? "" : within(body, "kind").value;
  const told = { method: verb.toUpperCase(), headers };
  if (kind.startsWith("multipart/")) {
    told.body = new FormData();
    for (const one of file.files) told.body.append(form.dataset.part, one);
  } else if (kind) {
    headers["content-type"] = kind;
    told.body = file.hidden ? body.querySelector("textarea").value : file.files[0];
  }
  return { url: url.path + (url.query.length ? `?${url.query.join("&")}` : ""), told, kind };
}

const quoted = (text) => `'${String(text).replaceAll("'", "'\\''")}'`;

function curl(form, path, verb) {
  const { url, told, kind } = asked(form, path, verb);
  const parts = ["curl", ...(told.method === "GET" ? [] : ["-X", told.method]), quoted(new URL(url.slice(1), location.href).href)];
  for (const [name, value] of Object.entries(told.headers)) parts.push("-H", quoted(`${name}: ${value}`));
  if (!document.getElementById("key").hidden) parts.push("-H", "'x-api-key: …'");
  if (kind.startsWith("multipart/")) parts.push("-F", quoted(`${form.dataset.part}=@…`));
  else if (typeof told.body === "string") parts.push("-d", quoted(told.body.replace(/\s*\n\s*/g, " ")));
  else if (kind) parts.push("--data-binary", "@…");
  within(form, "curl").textContent = parts.join(" ");
}

async function attempt(form, path, verb, answer) {
  const { url, told } = asked(form, path, verb), secret = document.getElementById("secret").value;
  if (secret) told.headers["x-api-key"] = secret;
  const began = performance.now();
  answer.hidden = false;
  try {
    const got = await fetch(url.slice(1), { ...told, cache: "no-store" });
    const text = await got.text(), took = (performance.now() - began).toFixed(1);
    let shown = text;
    try { shown = JSON.stringify(JSON.parse(text), null, 1); } catch { /* no JSON: as it is */ }
    answer.textContent = `${got.status} ${got.statusText} · ${took} ms\n${shown}`;
  } catch (error) {
    answer.textContent = `no answer: ${error.message}`;
  }
}

function choose(body, content, api) {
  const kind = within(body, "kind").value, area = body.querySelector("textarea");
  const file = body.querySelector("input[type=file]");
  area.hidden = kind !== JSON_KIND;
  file.hidden = !area.hidden;
  file.multiple = kind.startsWith("multipart/");
  body.closest("form").dataset.part = part(content[kind], api) || "";
  if (!area.hidden) area.value = JSON.stringify(example(content[kind].schema, api), null, 1);
}

function operation(path, verb, told, shared, api) {
  const section = document.getElementById("operation").content.firstElementChild.cloneNode(true);
  const form = section.querySelector("form"), body = within(section, "body"), answer = within(section, "answer");
  within(section, "verb").textContent = verb.toUpperCase();
  within(section, "verb").classList.add(verb);
  within(section, "path").textContent = path;
  within(section, "summary").textContent = told.summary || "";
  within(section, "parameters").append(...[...shared, ...(told.parameters || [])].map(field));
  const content = (told.requestBody || {}).content || {}, kinds = Object.keys(content);
  body.hidden = !kinds.length;
  within(body, "kind").append(...kinds.map((kind) => made("option", kind)));
  if (kinds.length) choose(body, content, api);
  within(body, "kind").addEventListener("change", () => choose(body, content, api));
  const renew = () => curl(form, path, verb);
  for (const event of ["input", "change"]) form.addEventListener(event, renew);
  section.addEventListener("toggle", renew);
  form.addEventListener("submit", (event) => { event.preventDefault(); attempt(form, path, verb, answer); });
  section.querySelector("tbody").append(...Object.entries(told.responses).sort().map(([status, one]) => {
    const row = made("tr");
    const kindsOf = Object.entries(one.content || {}).map(([kind, { schema }]) =>
      schema && schema.$ref ? schema.$ref.split("/").pop() : kind);
    row.append(made("td", status), made("td", one.description || ""), made("td", kindsOf.join(", ")));
    return row;
  }));
  return section;
}

async function draw() {
  const state = document.getElementById("state");
  try {
    const got = await fetch("openapi.json", { cache: "no-store" });
    if (!got.ok) throw new Error(`the server answers ${got.status}`);
    const api = await got.json();
    document.getElementById("server").textContent = `${api.info.version} · ${api.info.description}`;
    const all = Object.entries(api.paths).flatMap(([path, item]) =>
      VERBS.filter((verb) => item[verb]).map((verb) => operation(path, verb, item[verb], item.parameters || [], api)));
    document.getElementById("key").hidden = !Object.values(api.paths).some((item) =>
      VERBS.some((verb) => (item[verb] || {}).security));
    document.getElementById("paths").append(...all);
    state.textContent = `${all.length} operations`;
  } catch (error) {
    state.textContent = `no description: ${error.message}`;
  }
}
draw();
