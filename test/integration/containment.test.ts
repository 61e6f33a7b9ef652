// Every way to take all memory, and every way to die, in one cluster: the task fails with the right code and a certificate,
// and nothing else notices. The worker's process, the tasks beside it and what is stored stay as they were.

import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Future, task } from '../../dist/index.js'
import type { PlimsollError } from '../../dist/errors/plimsoll-error.js'
import { descendantsOf } from '../e2e/installed.ts'
import { FaultCluster, linesOf, MIB, until } from './fault-cluster.ts'

const LIMIT = 256 * MIB
/** docs/memory.md: how far above its limit a worker may get for a moment. */
const OVERSHOOT = 64 * MIB

/** The types of this program are those of Node, without a browser's. */
declare const WebAssembly: {
  readonly Memory: new (size: { initial: number; maximum: number }) => {
    buffer: ArrayBuffer
    grow(pages: number): number
  }
}

type Hog = () => unknown

const HOGS: Readonly<Record<string, { readonly sync: Hog; readonly async: Hog }>> = {
  'many objects': {
    sync: () => {
      const all: object[] = []
      for (;;) all.push({ id: all.length, next: [all.length] })
    },
    async: async () => {
      const all: object[] = []
      for (;;) {
        if (all.length % 20_000 === 0) await new Promise((resolve) => setImmediate(resolve))
        all.push({ id: all.length, next: [all.length] })
      }
    },
  },
  'one growing array': {
    sync: () => {
      const all: number[] = []
      for (;;) all.push(all.length + 0.5)
    },
    async: async () => {
      const all: number[] = []
      for (;;) {
        if (all.length % 100_000 === 0) await new Promise((resolve) => setImmediate(resolve))
        all.push(all.length + 0.5)
      }
    },
  },
  'new Array(1e8)': {
    sync: () => Array(1e8).fill(0.5).length,
    async: async () => {
      await Promise.resolve()
      return Array(1e8).fill(0.5).length
    },
  },
  strings: {
    sync: () => {
      const all: string[] = []
      for (;;) all.push(Buffer.alloc(100_000, 65 + (all.length % 26)).toString('latin1'))
    },
    async: async () => {
      const all: string[] = []
      for (;;) {
        await new Promise((resolve) => setImmediate(resolve))
        for (let n = 0; n < 20; n++) all.push(Buffer.alloc(100_000, 65 + n).toString('latin1'))
      }
    },
  },
  ArrayBuffers: {
    sync: () => {
      const all: ArrayBuffer[] = []
      for (;;) all.push(new ArrayBuffer(4 * 2 ** 20))
    },
    async: async () => {
      const all: ArrayBuffer[] = []
      for (;;) {
        await new Promise((resolve) => setImmediate(resolve))
        all.push(new ArrayBuffer(4 * 2 ** 20))
      }
    },
  },
  Buffers: {
    sync: () => {
      const all: Buffer[] = []
      for (;;) all.push(Buffer.alloc(2 ** 20, all.length))
    },
    async: async () => {
      const all: Buffer[] = []
      for (;;) {
        await new Promise((resolve) => setTimeout(resolve, 1))
        all.push(Buffer.alloc(2 ** 20, all.length))
      }
    },
  },
  'a WebAssembly memory': {
    sync: () => {
      const memory = new WebAssembly.Memory({ initial: 1, maximum: 65_536 })
      for (;;) {
        const pages = memory.grow(64)
        new Uint8Array(memory.buffer, pages * 65_536).fill(1)
      }
    },
    async: async () => {
      const memory = new WebAssembly.Memory({ initial: 1, maximum: 65_536 })
      for (;;) {
        await new Promise((resolve) => setTimeout(resolve, 1))
        const pages = memory.grow(64)
        new Uint8Array(memory.buffer, pages * 65_536).fill(1)
      }
    },
  },
  'a child process': {
    sync: () => {
      const { spawnSync } = process.getBuiltinModule('node:child_process')
      const program = 'const a = []; setInterval(() => a.push(Buffer.alloc(2 ** 21, 1)), 1)'
      return spawnSync(process.execPath, ['-e', program]).status
    },
    async: async () => {
      const { spawn } = process.getBuiltinModule('node:child_process')
      const program = 'const a = []; setInterval(() => a.push(Buffer.alloc(2 ** 21, 1)), 1)'
      const child = spawn(process.execPath, ['-e', program])
      return await new Promise((resolve) => child.once('exit', resolve))
    },
  },
}

interface Death {
  readonly sync: Hog
  readonly async: Hog
  readonly options?: { readonly timeout: number }
  readonly code: string
  readonly fields: object
}

const DEATHS: Readonly<Record<string, Death>> = {
  SIGKILL: {
    sync: () => process.kill(process.pid, 'SIGKILL'),
    async: async () => {
      await Promise.resolve()
      process.kill(process.pid, 'SIGKILL')
      await new Promise(() => {})
    },
    code: 'TASK_CRASHED',
    fields: { signal: 'SIGKILL' },
  },
  SIGSEGV: {
    sync: () => process.kill(process.pid, 'SIGSEGV'),
    async: async () => {
      await Promise.resolve()
      process.kill(process.pid, 'SIGSEGV')
      await new Promise(() => {})
    },
    code: 'TASK_CRASHED',
    fields: { signal: 'SIGSEGV' },
  },
  'process.exit(3)': {
    sync: () => process.exit(3),
    async: async () => {
      await Promise.resolve()
      process.exit(3)
    },
    code: 'TASK_CRASHED',
    fields: { exitCode: 3 },
  },
  'an unhandled rejection': {
    sync: () => {
      void Promise.reject(new Error('nobody listens'))
      return 1
    },
    async: async () => {
      await Promise.resolve()
      void Promise.reject(new Error('nobody listens'))
      return 1
    },
    code: 'TASK_CRASHED',
    fields: { origin: 'unhandled rejection' },
  },
  'an endless loop': {
    sync: () => {
      for (;;);
    },
    async: async () => {
      await Promise.resolve()
      for (;;);
    },
    options: { timeout: 300 },
    code: 'TASK_TIMEOUT',
    fields: { limitMs: 300 },
  },
}

const WAYS = ['sync', 'async'] as const
const cases = <T>(table: Readonly<Record<string, T>>): [string, 'sync' | 'async', T][] =>
  Object.entries(table).flatMap(([name, entry]) => WAYS.map((way): [string, 'sync' | 'async', T] => [name, way, entry]))

let faults: FaultCluster
let before: { readonly pid: number; readonly restarts: number }
let small: Future<number>
let large: Future<Float64Array>
let runs: string

beforeAll(async () => {
  faults = await FaultCluster.start({
    nthreads: 2,
    memoryLimit: LIMIT,
    config: { 'scheduler.allowed-oom-failures': 0, 'scheduler.allowed-failures': 0 },
  })
  before = await faults.worker()
  runs = join(faults.folder, 'runs')
  const counted = (file: string, n: number): number => {
    process.getBuiltinModule('node:fs').appendFileSync(file, 'small\n')
    return n
  }
  const countedLarge = (file: string, n: number): Float64Array => {
    process.getBuiltinModule('node:fs').appendFileSync(file, 'large\n')
    return new Float64Array(n).fill(7)
  }
  small = faults.client.submit(counted, runs, 42)
  large = faults.client.submit(countedLarge, runs, 500_000)
  await Promise.all([small.result(), large.result()])
})
afterAll(() => faults[Symbol.asyncDispose]())

/** What the task fails with, while a sibling is at work, and all that has to be the same after it as before. */
async function failureOf(fn: Hog, name: string, options: object): Promise<PlimsollError> {
  const { client } = faults
  const stop = join(faults.folder, `stop-${name}`)
  const sibling = client.submit(async (file: string) => {
    const fs = process.getBuiltinModule('node:fs')
    while (!fs.existsSync(file)) await new Promise((resolve) => setTimeout(resolve, 5))
    return 'finished'
  }, stop)
  const siblingRunsIn = await faults.executorOf(sibling)
  // Known by one name, they would be known to need all memory, and wait for the sibling to end.
  const error = await client.submit(task(fn, { key: name, name, ...options })).exception({ timeout: '30s' })
  expect((await faults.worker()).executors.find(({ task: key }) => key === sibling.key)?.pid).toBe(siblingRunsIn)
  writeFileSync(stop, '')
  expect(await sibling.result({ timeout: '10s' })).toBe('finished')
  expect(await small.result()).toBe(42)
  expect((await large.result()).at(-1)).toBe(7)
  expect(linesOf(runs).toSorted()).toEqual(['large', 'small'])
  expect(await faults.worker()).toMatchObject({ pid: before.pid, restarts: before.restarts })
  return error as PlimsollError
}

/** Private memory of the worker with all its processes and of what it has in the RAM file system, as the system tells. */
function processMemory(): number {
  let bytes = 0
  for (const pid of [before.pid, ...descendantsOf(before.pid)]) {
    try {
      bytes += Number(/^RssAnon:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1] ?? 0) * 1024
    } catch {
      // It ended meanwhile.
    }
  }
  return bytes
}

describe.skipIf(process.platform !== 'linux')('a task that takes all memory', () => {
  it.each(cases(HOGS))('as %s (%s)', { timeout: 60_000 }, async (name, way, hog) => {
    let highest = 0
    const timer = setInterval(() => (highest = Math.max(highest, processMemory())), 5)
    try {
      const error = await failureOf(hog[way], `${name} ${way}`, {})
      expect(error).toMatchObject({ code: 'TASK_OUT_OF_MEMORY', fields: { key: `${name} ${way}` } })
    } finally {
      clearInterval(timer)
    }
    expect(highest).toBeLessThan(LIMIT + OVERSHOOT)
    await until('its memory is back', processMemory, (bytes) => bytes < LIMIT / 2)
  })
})

describe('a task that ends its process', () => {
  it.each(cases(DEATHS))('by %s (%s)', { timeout: 60_000 }, async (name, way, death) => {
    const error = await failureOf(death[way], `${name} ${way}`, death.options ?? {})
    expect(error).toMatchObject({ code: death.code, fields: { key: `${name} ${way}`, ...death.fields } })
  })
})
