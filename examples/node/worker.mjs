// Packs every file of a folder and says what it does: worker.mjs [FOLDER]. README.md beside this file.
import { randomUUID } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { promisify } from "node:util";
import { gzip } from "node:zlib";
import {
  broadcastAgentState, broadcastSystemAlert, close, completeWorkflow, configure, startStreaming, startWorkflow, stats, updateWorkflowProgress,
} from "../../client/producer.js";

const folder = process.argv[2] ?? ".";
configure({ agentId: "packer", onError: ({ code, message }) => console.error(`broadcastd: ${code}: ${message}`) });
startStreaming(1000);                                        // this process's CPU and memory

broadcastAgentState({ status: "busy", currentTask: `packing ${folder}` });
const run = randomUUID();
startWorkflow("pack", run);
const entries = await readdir(folder, { withFileTypes: true, recursive: true });
const files = entries.filter((entry) => !entry.isDirectory() && !entry.parentPath.includes("node_modules"));
let packed = 0, before = 0, after = 0;
for (const [index, entry] of files.entries()) {
  const path = join(entry.parentPath, entry.name);
  try {
    const text = await readFile(path);
    const small = await promisify(gzip)(text);
    packed += 1;
    before += text.length;
    after += small.length;
  } catch (error) {
    broadcastSystemAlert({ severity: "warning", component: "packer", message: `${relative(folder, path)}: ${error.code}` });
  }
  updateWorkflowProgress("pack", run, "gzip", Math.round((100 * (index + 1)) / files.length));
}
completeWorkflow("pack", run, { packed, before, after });
broadcastAgentState({ status: "idle" });

console.log(`packed ${packed} files of ${folder}: ${before} to ${after} bytes`);
await close();                                               // what still waits goes out, for at most two seconds
const { sent, rejected, dropped, lost } = stats();
console.log(`events: ${sent} sent, ${rejected} rejected, ${dropped} dropped, ${lost} lost`);
