// dockerode at work: the same as tests/support/clients/work.py asks of the others, in one program.
// Usage: node work.js IMAGE TREE COPY.tar; the daemon is named by DOCKER_HOST.  Prints one JSON object.
'use strict';
const fs = require('fs');
const { PassThrough } = require('stream');
const Docker = require('dockerode');
const tar = require('tar-fs');

const [image, tree, output] = process.argv.slice(2);
const docker = new Docker();

function text(stream) {
  return new Promise((resolve, reject) => {
    const pieces = [];
    stream.on('data', (piece) => pieces.push(piece));
    stream.on('end', () => resolve(Buffer.concat(pieces)));
    stream.on('error', reject);
  });
}

function split(stream) {
  const out = new PassThrough();
  docker.modem.demuxStream(stream, out, out);
  stream.on('end', () => out.end());
  stream.on('close', () => out.end());
  return text(out);
}

async function run(name, command) {
  const container = await docker.createContainer({
    Image: image, Cmd: command, name, HostConfig: { NetworkMode: 'none' },
  });
  await container.start();
  return container;
}

async function shell(container, script) {
  const exec = await container.exec({ Cmd: ['sh'], AttachStdin: true, AttachStdout: true, AttachStderr: true });
  const stream = await exec.start({ hijack: true, stdin: true });
  const output = split(stream);
  stream.write(script + '\n');
  stream.end();
  return [(await output).toString(), (await exec.inspect()).ExitCode];
}

async function statistics(container) {
  const stream = await container.stats({ stream: true });
  const samples = [];
  let rest = '';
  for await (const piece of stream) {
    rest += piece;
    const lines = rest.split('\n');
    rest = lines.pop();
    lines.filter(Boolean).forEach((line) => samples.push(JSON.parse(line).memory_stats.usage));
    if (samples.length >= 2) break;
  }
  return samples.slice(0, 2);
}

async function events() {
  const seen = [];
  const stream = await docker.getEvents({});
  let rest = '';
  stream.on('data', (piece) => {
    rest += piece;
    const lines = rest.split('\n');
    rest = lines.pop();
    lines.filter(Boolean).forEach((line) => {
      const event = JSON.parse(line);
      seen.push([event.Type, event.Action, event.Actor.Attributes.name || '']);
    });
  });
  const names = Array.from({ length: 20 }, (_, number) => `js-${number}`);
  const containers = await Promise.all(names.map((name) => run(name, ['true'])));
  await Promise.all(containers.map((container) => container.wait()));
  await Promise.all(containers.map((container) => container.remove({ force: true })));
  await new Promise((resolve) => setTimeout(resolve, 200));
  stream.destroy();
  return seen;
}

async function main() {
  const result = {};
  const container = await run('js-work', ['sleep', '1000']);
  result.shell = await shell(container, 'echo $((6*7)); exit 3');
  await container.exec({ Cmd: ['mkdir', '/copied'] }).then((exec) => exec.start({ Detach: true }));
  await shell(container, 'while ! [ -d /copied ]; do usleep 1000; done; exit');
  await container.putArchive(tar.pack(tree), { path: '/copied' });
  const archive = await container.getArchive({ path: '/copied/.' });
  await new Promise((resolve, reject) => {
    archive.pipe(fs.createWriteStream(output)).on('finish', resolve).on('error', reject);
  });
  result.statistics = await statistics(container);
  const printing = await run('js-logs', ['seq', '100000']);
  const logs = await printing.logs({ follow: true, stdout: true, stderr: true });
  result.lines = (await split(logs)).toString().split('\n').length - 1;
  result.events = await events();
  await container.remove({ force: true });
  await printing.remove({ force: true });
  fs.writeSync(1, JSON.stringify(result));
}

main().then(() => process.exit(0), (error) => { console.error(error); process.exit(1); });
