#!/usr/bin/env node
// Reads requests from standard input, one JSON object a line, and answers on standard output. See README.md.
import { createInterface } from 'node:readline';
import { Session } from './session.mjs';

const write = (message) => process.stdout.write(`${JSON.stringify(message)}\n`);
const session = new Session((event, params) => write({ event, params }));

// Requests run at once, not one after another: a test waits in one person's page while it acts in another's.
const lines = createInterface({ input: process.stdin, crlfDelay: Infinity });
lines.on('line', async (line) => {
  if (line.trim() === '') return;
  let request;
  try {
    request = JSON.parse(line);
  } catch {
    write({ id: null, error: `not a line of JSON: ${line.slice(0, 200)}` });
    return;
  }
  try {
    const result = await session.call(request.method, request.params ?? {});
    write({ id: request.id, result: result ?? null });
  } catch (error) {
    write({ id: request.id, error: error instanceof Error ? error.message : String(error) });
  }
});

// Whoever started this process is done when it closes the pipe, and browsers must not outlive it.
let ending;
const end = () => {
  ending ??= session.closeAll().finally(() => process.exit(0));
};
lines.on('close', end);
process.on('SIGTERM', end);
process.on('SIGINT', end);
// A fault of this program's own must not leave browsers behind either: they would stay in their calls for ever.
process.on('uncaughtException', (error) => {
  console.error(error);
  end();
});
