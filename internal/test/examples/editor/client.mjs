// Drives `valence lsp` with the protocol library of Visual Studio Code's clients.
// Arguments: the program, the folder with node_modules, the folder of the
// examples, and an empty folder.
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";

const [program, modules, examples, scratch] = process.argv.slice(2);
const lsp = createRequire(path.join(modules, "package.json"))("vscode-languageserver-protocol/node");

// connect starts a server on a folder.
async function connect(folder) {
  const child = spawn(program, ["lsp"], { stdio: ["pipe", "pipe", "inherit"] });
  const exited = new Promise((resolve) => child.on("exit", resolve));
  const connection = lsp.createProtocolConnection(new lsp.StreamMessageReader(child.stdout), new lsp.StreamMessageWriter(child.stdin));
  const published = new Map();
  const waiting = [];
  connection.onNotification(lsp.PublishDiagnosticsNotification.type, (p) => {
    published.set(p.uri, p);
    for (const check of waiting.splice(0)) check();
  });
  connection.onNotification(lsp.LogMessageNotification.type, (p) => console.error("server:", p.message));
  connection.listen();
  const { capabilities } = await connection.sendRequest(lsp.InitializeRequest.type, {
    processId: process.pid, rootUri: null, capabilities: { general: { positionEncodings: ["utf-16"] } },
    workspaceFolders: [{ uri: pathToFileURL(folder).href, name: "test" }],
  });
  await connection.sendNotification(lsp.InitializedNotification.type, {});
  const texts = new Map();
  let version = 0;
  return {
    child, connection, exited, capabilities, texts,
    open(uri, text) {
      texts.set(uri, text);
      return connection.sendNotification(lsp.DidOpenTextDocumentNotification.type, { textDocument: { uri, languageId: "yaml", version: ++version, text } });
    },
    // change replaces the only occurrence of a part of a document.
    change(uri, before, after) {
      const text = texts.get(uri), at = text.indexOf(before);
      assert.ok(at >= 0, `${before} is in the text`);
      texts.set(uri, text.slice(0, at) + after + text.slice(at + before.length));
      return connection.sendNotification(lsp.DidChangeTextDocumentNotification.type, {
        textDocument: { uri, version: ++version },
        contentChanges: [{ range: { start: position(text, at), end: position(text, at + before.length) }, text: after }],
      });
    },
    // diagnostics waits for those of the latest version of the latest change.
    async diagnostics(uri) {
      const want = version;
      while (published.get(uri)?.version !== want) await new Promise((resolve) => waiting.push(resolve));
      return published.get(uri).diagnostics;
    },
    at(uri, before) {
      const at = texts.get(uri).indexOf(before);
      assert.ok(at >= 0, `${before} is in the text`);
      return { textDocument: { uri }, position: position(texts.get(uri), at + before.length) };
    },
    request: (type, params, token) => connection.sendRequest(type, params, token),
  };
}

// JavaScript counts text in UTF-16 code units, as the protocol does.
function position(text, at) {
  const lines = text.slice(0, at).split("\n");
  return { line: lines.length - 1, character: lines.at(-1).length };
}

function applied(text, edits) {
  const starts = [0];
  for (let i = text.indexOf("\n"); i >= 0; i = text.indexOf("\n", i + 1)) starts.push(i + 1);
  const offset = (p) => starts[p.line] + p.character;
  for (const e of [...edits].sort((a, b) => offset(b.range.start) - offset(a.range.start))) {
    text = text.slice(0, offset(e.range.start)) + e.newText + text.slice(offset(e.range.end));
  }
  return text;
}

// linted returns the problems that `valence lint` reports of a folder, as LINE CODE by file.
function linted(folder) {
  const byFile = new Map();
  const { problems } = JSON.parse(spawnSync(program, ["lint", folder, "--format", "json"], { encoding: "utf8" }).stdout);
  for (const p of problems) byFile.set(p.file, [...(byFile.get(p.file) ?? []), `${p.line} ${p.code}`]);
  return byFile;
}

const brief = (diagnostics) => diagnostics.map((d) => `${d.range.start.line + 1} ${d.code}`);

// Every example has the problems that lint reports, also after formatting.
async function allExamples() {
  const c = await connect(examples);
  let files = 0;
  for (const example of fs.readdirSync(examples)) {
    const folder = path.join(examples, example);
    if (!fs.statSync(folder).isDirectory() || !fs.readdirSync(folder).some((name) => name.endsWith(".yaml"))) continue;
    const want = linted(folder);
    for (const entry of fs.readdirSync(folder, { recursive: true })) {
      const file = path.join(folder, entry);
      if (!file.endsWith(".yaml")) continue;
      const uri = pathToFileURL(file).href, expected = want.get(file) ?? [];
      await c.open(uri, fs.readFileSync(file, "utf8"));
      assert.deepEqual(brief(await c.diagnostics(uri)), expected, file);
      const symbols = await c.request(lsp.DocumentSymbolRequest.type, { textDocument: { uri } });
      assert.ok(symbols.length > 0, `${file} has symbols`);
      const edits = await c.request(lsp.DocumentFormattingRequest.type, { textDocument: { uri }, options: { tabSize: 2, insertSpaces: true } });
      if (edits.length > 0) {
        await c.change(uri, c.texts.get(uri), applied(c.texts.get(uri), edits));
        assert.deepEqual(brief(await c.diagnostics(uri)), expected, `${file}, formatted`);
      }
      files++;
    }
  }
  assert.ok(files > 30, `${files} files`);
  await orderly(c);
}

async function orderly(c) {
  await c.request(lsp.ShutdownRequest.type);
  await c.connection.sendNotification(lsp.ExitNotification.type);
  assert.equal(await c.exited, 0);
}

// One project is edited with every feature.
async function oneProject() {
  const folder = path.join(scratch, "order sync ü");
  fs.cpSync(path.join(examples, "order-sync"), folder, { recursive: true });
  const c = await connect(folder);
  const uri = pathToFileURL(path.join(folder, "order-sync.yaml")).href;
  await c.open(uri, fs.readFileSync(path.join(folder, "order-sync.yaml"), "utf8"));
  assert.deepEqual(await c.diagnostics(uri), []);

  // A mistake and its correction.
  await c.change(uri, "call: erp.post", "call: erb.post");
  const [problem, ...others] = await c.diagnostics(uri);
  assert.equal(others.length, 0);
  assert.equal(problem.code, "unknown-component");
  const [action] = await c.request(lsp.CodeActionRequest.type, { textDocument: { uri }, range: problem.range, context: { diagnostics: [problem] } });
  assert.equal(action.title, "Replace `erb` with `erp`");
  await c.change(uri, "call: erb.post", applied(c.texts.get(uri), action.edit.changes[uri]).match(/call: er.\.post/)[0]);
  assert.deepEqual(await c.diagnostics(uri), []);

  // Completion, also while the file is not valid.
  await c.change(uri, "  - map:", "  - call: shop.\n  - map:");
  let list = await c.request(lsp.CompletionRequest.type, c.at(uri, "  - call: shop."));
  assert.ok(list.items.some((i) => i.label === "shop.get" && i.documentation.value.length > 0));
  await c.change(uri, "  - call: shop.\n", "  - log: \"🙂 ${doc.\n");
  list = await c.request(lsp.CompletionRequest.type, c.at(uri, "🙂 ${doc."));
  assert.ok(list.items.some((i) => i.label === "items"), "the fields of the fixture");
  await c.change(uri, "  - log: \"🙂 ${doc.\n", "");

  const hover = await c.request(lsp.HoverRequest.type, c.at(uri, "call: shop.g"));
  assert.match(hover.contents.value, /only reads/);

  const definition = await c.request(lsp.DefinitionRequest.type, c.at(uri, "call: sh"));
  assert.equal(definition.length, 1);
  assert.match(definition[0].uri, /connections\.yaml$/);
  const references = await c.request(lsp.ReferencesRequest.type, { ...c.at(uri, "call: sh"), context: { includeDeclaration: true } });
  assert.ok(references.length >= 4);

  assert.ok(await c.request(lsp.PrepareRenameRequest.type, c.at(uri, "call: sh")));
  const edit = await c.request(lsp.RenameRequest.type, { ...c.at(uri, "call: sh"), newName: "store" });
  assert.ok(Object.keys(edit.changes).length >= 3, "the process, the connections and the tests");
  for (const [changed, edits] of Object.entries(edit.changes)) {
    if (changed !== uri) await c.open(changed, fs.readFileSync(new URL(changed), "utf8"));
    await c.change(changed, c.texts.get(changed), applied(c.texts.get(changed), edits));
  }
  for (const changed of Object.keys(edit.changes)) {
    await c.change(changed, "\n", "\n\n");
    assert.deepEqual(await c.diagnostics(changed), [], "after renaming");
  }
  await assert.rejects(c.request(lsp.RenameRequest.type, { ...c.at(uri, "call: sto"), newName: "Not a name" }));

  // Requests that are cancelled, unknown or wrong.
  const source = new lsp.CancellationTokenSource();
  const cancelled = c.request(lsp.CompletionRequest.type, c.at(uri, "call: sto"), source.token);
  source.cancel();
  await cancelled.catch((e) => assert.equal(e.code, lsp.LSPErrorCodes.RequestCancelled));
  await assert.rejects(c.connection.sendRequest("textDocument/unheardOf", {}), { code: lsp.ErrorCodes.MethodNotFound });
  await assert.rejects(c.connection.sendRequest("textDocument/hover", "nonsense"), { code: lsp.ErrorCodes.InvalidParams });
  await orderly(c);
}

// A file of 1 MiB is checked, and a client that vanishes ends the server.
async function hugeFile() {
  const folder = path.join(scratch, "huge");
  fs.mkdirSync(folder);
  const c = await connect(folder);
  const uri = pathToFileURL(path.join(folder, "huge.yaml")).href;
  let text = "";
  for (let i = 0; text.length < 1 << 20; i++) text += `process: p-${i}\nsteps:\n  - map: { id: "\${doc.id}" }\n  - log: hello\n---\n`;
  await c.open(uri, text + "process: last\nsteps:\n  - lgo: x\n");
  const problems = await c.diagnostics(uri);
  assert.ok(problems.some((p) => p.code === "unknown-step-kind"));
  const list = await c.request(lsp.CompletionRequest.type, c.at(uri, "process: last\nsteps:\n  - lgo"));
  assert.ok(list.items.some((i) => i.label === "log"));
  c.connection.onClose(() => {});
  c.child.stdin.end();
  assert.equal(await c.exited, 1);
}

await allExamples();
await oneProject();
await hugeFile();
