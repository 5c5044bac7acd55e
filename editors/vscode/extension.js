"use strict";

const vscode = require("vscode");
const { LanguageClient, TransportKind } = require("vscode-languageclient/node");

/** @type {LanguageClient | undefined} */
let client;

// The command of the language server. In a folder that is not trusted, only the
// user's own settings count; package.json says so.
function server() {
  const command = vscode.workspace.getConfiguration("valence").get("path") || "valence";
  return { command, args: ["lsp"], transport: TransportKind.stdio };
}

async function start() {
  const run = server();
  client = new LanguageClient("valence", "Valence", { run, debug: run }, {
    documentSelector: [{ scheme: "file", language: "yaml" }],
    synchronize: { fileEvents: vscode.workspace.createFileSystemWatcher("**/*.{yaml,yml,json,csv}") },
  });
  try {
    await client.start();
  } catch (error) {
    client = undefined;
    vscode.window.showErrorMessage(`Cannot start \`${run.command} lsp\`: ${error.message}. Set valence.path to the program.`);
  }
}

async function stop() {
  const running = client;
  client = undefined;
  await running?.stop();
}

exports.activate = async function (context) {
  context.subscriptions.push(
    vscode.commands.registerCommand("valence.restart", async () => { await stop(); await start(); }),
    vscode.workspace.onDidChangeConfiguration(async (change) => {
      if (change.affectsConfiguration("valence.path")) { await stop(); await start(); }
    }),
  );
  await start();
};

exports.deactivate = stop;
