import { execFileSync } from 'node:child_process'
import { constants, mkdtempSync, openSync, rmSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { functionId, runId, taskKey } from '../base/ids.ts'
import type { ExecutorRun, WorkerToExecutor } from '../protocol/worker-executor.ts'
import { MessageParser, MessageWriter } from '../runner/pipe-framing.ts'
import { readPipe } from './pipe-reader.ts'

const directory = mkdtempSync(join(tmpdir(), 'plimsoll-pipe-'))
afterAll(() => rmSync(directory, { recursive: true, force: true }))

/** A pipe with a name: both of its ends are opened here. */
function newPipe(name: string): { readonly path: string; readonly fd: number } {
  const path = join(directory, name)
  execFileSync('mkfifo', [path])
  return { path, fd: openSync(path, constants.O_RDONLY | constants.O_NONBLOCK) }
}

const argsOf = (n: number): Uint8Array => new Uint8Array(n % 100 === 50 ? 300_000 : 7 * n).fill(n)

function runOf(n: number): ExecutorRun {
  return {
    op: 'run',
    runId: runId(n),
    sequence: n,
    key: taskKey(`k${n}`),
    name: 'f',
    fn: functionId('f'),
    args: argsOf(n),
    inputs: [],
    memory: 0,
    attempt: 1,
    clusterId: 'c',
    generation: 1,
  }
}

describe('reading the pipe from the worker', () => {
  it('hands out what stays as it is, in messages of any length, until the end', async () => {
    const { path, fd } = newPipe('messages')
    const runs: ExecutorRun[] = []
    const parser = new MessageParser<WorkerToExecutor>()
    const take = (message: WorkerToExecutor): unknown => message.op === 'run' && runs.push(message)
    const ended = new Promise<void>((resolve) => readPipe(fd, (chunk) => parser.push(chunk, take), resolve))
    const writer = new MessageWriter<WorkerToExecutor>()
    const into = await open(path, 'w')
    try {
      for (let n = 0; n < 200; n++) {
        const frame = writer.frame([runOf(n)])
        // Most are cut somewhere, and told in two chunks.
        const cut = (31 * n) % frame.byteLength
        await into.writeFile(frame.subarray(0, cut))
        await into.writeFile(frame.subarray(cut))
      }
    } finally {
      await into.close()
    }
    await ended
    // All of them are held on to, and nothing that came later is in them.
    expect(runs.map(({ sequence }) => sequence)).toEqual(Array.from({ length: 200 }, (_, n) => n))
    expect(runs.filter(({ args }, n) => !Buffer.from(args).equals(argsOf(n)))).toEqual([])
  })

  it('takes no new buffer for what is small', async () => {
    const { path, fd } = newPipe('small')
    const chunks: Buffer[] = []
    let heard: () => void = () => {}
    const ended = new Promise<void>((resolve) => readPipe(fd, (chunk) => chunks.push(chunk) > 0 && heard(), resolve))
    const into = await open(path, 'w')
    try {
      for (let n = 0; n < 20; n++) {
        const next = new Promise<void>((resolve) => (heard = resolve))
        await into.write(Buffer.alloc(100, n))
        await next
      }
    } finally {
      await into.close()
    }
    await ended
    expect(chunks.map((chunk) => [chunk.byteLength, chunk[0]])).toEqual(Array.from({ length: 20 }, (_, n) => [100, n]))
    expect(chunks.every(({ buffer }) => buffer.byteLength === Buffer.poolSize)).toBe(true)
  })
})
