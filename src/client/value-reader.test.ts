import { describe, expect, it, vi } from 'vitest'
import { runId, taskKey, workerId } from '../base/ids.ts'
import type { ServedValue } from '../protocol/worker-worker.ts'
import { FutureState } from './future-state.ts'
import type { Peers } from './peers.ts'
import { type Located, readValues } from './value-reader.ts'

const refusal = vi.hoisted(() => ({ code: '' }))

vi.mock('node:fs/promises', async (original) => {
  const open = (path: string): Promise<never> => {
    const { code } = refusal
    return Promise.reject(Object.assign(new Error(`${code}: open '${path}'`), { code, syscall: 'open', path }))
  }
  return { ...((await original()) as object), open }
})

const holder = { id: workerId('a'), address: 'tcp://a', host: 'h' }
const item: Located = { state: new FutureState(taskKey('x'), 'x', 0), runId: runId(1), nbytes: 100, holder }
const value: ServedValue = {
  key: taskKey('x'),
  via: 'file',
  runId: runId(1),
  path: '/nowhere/x',
  offset: 0,
  nbytes: 100,
  tier: 'memory',
  pin: 1,
  type: 'x',
}

/** A worker that names a file for the value. */
const peers = {
  use: (_address: string, with_: (connection: unknown) => Promise<unknown>) =>
    with_({ request: (op: string) => Promise.resolve(op === 'get-data' ? { values: [value] } : {}) }),
} as unknown as Peers

describe('a value in a file that cannot be read', () => {
  it.each([
    ['is lost there', 'ENOENT', 'missing'],
    ['is lost there', 'EIO', 'missing'],
    ['says nothing about the copy when this process can open no file at all', 'EMFILE', 'undecodable'],
    ['says nothing about the copy when this machine can open no file at all', 'ENFILE', 'undecodable'],
  ])('%s (%s)', async (_what, code, kind) => {
    refusal.code = code
    expect(await readValues(peers, [item])).toMatchObject([{ kind, error: { code } }])
  })
})
