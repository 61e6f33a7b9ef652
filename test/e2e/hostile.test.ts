// Bytes that no peer of ours sends, at every port that listens: the connection is closed, and nothing else notices.

import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { cli, installPackage, runCli, Running, type Project } from './installed.ts'

let project: Project
let scheduler: Running
let worker: Running
const ports: Record<string, number> = {}

beforeAll(async () => {
  project = await installPackage()
  scheduler = cli(project, ['scheduler', '--port', '0'])
  const [, address, port] = await scheduler.printed(/Scheduler at (tcp:\/\/127\.0\.0\.1:(\d+))/)
  worker = cli(project, ['worker', address as string, '--nthreads', '1', '--memory-limit', '512 MiB'])
  const [, workerPort] = await worker.printed(/Worker at tcp:\/\/127\.0\.0\.1:(\d+)/)
  Object.assign(ports, { scheduler: Number(port), worker: Number(workerPort) })
}, 60_000)
afterAll(async () => {
  await worker.stop()
  await scheduler.stop()
  project.remove()
})

const u32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(value)
  return bytes
}
const ATTACKS: Readonly<Record<string, Buffer>> = {
  'random bytes': randomBytes(2000),
  'a 2 GiB length prefix': Buffer.concat([u32(1), u32(0x7fffffff), randomBytes(100)]),
  'a 2 GiB length prefix, big endian': Buffer.from('000000017fffffff00000000', 'hex'),
  'all ones': Buffer.alloc(64, 0xff),
  'an HTTP request': Buffer.from('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n'),
  'many empty frames': Buffer.concat([u32(0xffff), Buffer.alloc(3000)]),
}

async function answersWell(): Promise<void> {
  const script = project.write(
    'check.mjs',
    `import { Client } from 'plimsoll'
const client = await Client.connect(process.argv[2])
console.log(await client.submit((x) => x * 2, ${Math.floor(performance.now() * 1000)}).result() > 0, (await client.gather(await client.scatter([1, 2]))).length)
await client.close()
`,
  )
  const outcome = await new Running(project, [script, `tcp://127.0.0.1:${ports['scheduler']}`]).ended
  expect([outcome.stdout, outcome.stderr, outcome.code]).toEqual(['true 2\n', '', 0])
}

async function closedByPeer(socket: Socket): Promise<void> {
  socket.on('error', () => {})
  socket.resume()
  if (!socket.closed) await once(socket, 'close')
}

describe.each(['scheduler', 'worker'])('the port of the %s', (role) => {
  it.each(Object.keys(ATTACKS))('closes a connection that sends %s', async (name) => {
    const socket = connect(ports[role] as number, '127.0.0.1')
    socket.write(ATTACKS[name] as Buffer)
    await closedByPeer(socket)
  })

  it('closes connections that say half a frame, or nothing, after a few seconds', async () => {
    const half = connect(ports[role] as number, '127.0.0.1')
    half.write(Buffer.concat([u32(1), u32(100), Buffer.alloc(20)]))
    const silent = connect(ports[role] as number, '127.0.0.1')
    await Promise.all([closedByPeer(half), closedByPeer(silent)])
  })

  it('bears two hundred connections that say nothing', async () => {
    const sockets = Array.from({ length: 200 }, () => connect(ports[role] as number, '127.0.0.1'))
    for (const socket of sockets) socket.on('error', () => {})
    await answersWell()
    for (const socket of sockets) socket.destroy()
  })
})

it('and after all of it the cluster works, and logged reasons without stacks', async () => {
  await answersWell()
  expect((await runCli(project, ['status', `tcp://127.0.0.1:${ports['scheduler']}`])).code).toBe(0)
  for (const process of [scheduler, worker]) {
    expect(process.child.exitCode).toBeNull()
    expect(process.stderr).not.toMatch(/\n\s+at /)
  }
})
