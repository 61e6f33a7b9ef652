// A worker that serves a value slowly, or stops in the middle of one: a task that needs the value ends all the same, from
// another copy, from the worker's files once its nanny has it back, or computed again; and nobody else waits for it.

import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, describe, it } from 'vitest'
import { range, task, wait } from '../../dist/index.js'
import { MIB, until } from './fault-cluster.ts'
import { HandCluster } from './hand-cluster.ts'

/** Two of them are below `worker.memory.transfer`: one that is late leaves room for another. */
const VALUE = 8 * MIB

/**
 * Loaded into the slow worker's process: reading a stored value, piece by piece, takes its time while the file \`trickle\` is
 * there; while \`stop\` is there the process stops, with all its threads, before the third piece, whether it is read or goes
 * from the file to the socket.
 */
const SLOW_READS = `
import { existsSync, rmSync } from 'node:fs'
import fsp from 'node:fs/promises'
import { syncBuiltinESMExports } from 'node:module'
import { setTimeout as sleep } from 'node:timers/promises'
const { open } = fsp
const folder = process.env.SLOW_PEER_FOLDER
fsp.open = async (path, flags, mode) => {
  const handle = await open(path, flags, mode)
  if (flags !== 'r' || !String(path).includes('/blobs/')) return handle
  const { fd } = handle
  const read = handle.read.bind(handle)
  let pieces = 0
  const stop = () => {
    if (++pieces <= 2 || !existsSync(folder + '/stop')) return
    rmSync(folder + '/stop')
    process.kill(process.pid, 'SIGSTOP')
  }
  Object.defineProperty(handle, 'fd', { get: () => (stop(), fd) })
  handle.read = async (...parts) => {
    if (existsSync(folder + '/trickle')) await sleep(1000)
    stop()
    return read(...parts)
  }
  return handle
}
syncBuiltinESMExports()
`

const CONFIG = {
  'worker.transfer.same-host': 'stream',
  // One value at a time from each peer.
  'worker.transfer.message-bytes-limit': VALUE,
  'scheduler.active-memory-manager.start': false,
  // As short as it gets: ten heartbeats.
  'scheduler.worker-ttl': '1s',
  'scheduler.worker-grace': '2s',
  // Makes the scheduler look for silent workers often.
  'scheduler.idle-timeout': '10 min',
} as const

const make = (n: number): Float64Array => new Float64Array(2 ** 20).fill(n)
const sum = (all: readonly Float64Array[]): number => all.reduce((total, values) => total + (values.at(-1) ?? NaN), 0)

class SlowPeer {
  readonly cluster: HandCluster
  readonly nanny: number

  private constructor(cluster: HandCluster, nanny: number) {
    this.cluster = cluster
    this.nanny = nanny
  }

  static async start(env: Readonly<Record<string, string>> = {}): Promise<SlowPeer> {
    const cluster = await HandCluster.start(CONFIG)
    const slow = cluster.startWorker('slow', {
      preload: SLOW_READS,
      env: { ...env, SLOW_PEER_FOLDER: cluster.folder },
    })
    const [nanny] = await Promise.all([
      slow,
      cluster.startWorker('other'),
      cluster.startWorker('fast', { nthreads: 2 }),
    ])
    return new SlowPeer(cluster, nanny)
  }

  /** From now on the slow worker does this to values that it is asked for. */
  begin(what: 'trickle' | 'stop'): void {
    writeFileSync(join(this.cluster.folder, what), '')
  }

  async stopped(): Promise<void> {
    const flag = join(this.cluster.folder, 'stop')
    await until(
      'it stopped in the middle of a value',
      () => existsSync(flag),
      (there) => !there,
    )
  }

  /** Tasks of the fast worker that need nothing, and one that needs a value of the other worker. */
  async othersGoOn(): Promise<void> {
    const { client } = this.cluster
    const elsewhere = client.submit(task(make, { workers: ['other'], name: 'elsewhere' }), 7)
    const here = { workers: ['fast'] }
    const fetched = client.submit(task(sum, { ...here, name: 'fetched' }), [elsewhere])
    const alone = client.map(
      task((n: number) => n + 1, { ...here, name: 'alone' }),
      range(20),
    )
    expect(await client.gather([fetched, ...alone])).toEqual([7, ...range(20).map((n) => n + 1)])
  }

  async runs(name: string): Promise<number> {
    return (await this.cluster.client.taskCounts())[name]?.runs ?? 0
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.cluster[Symbol.asyncDispose]()
  }
}

describe('a peer that serves slowly', () => {
  it('is waited for, and holds up nobody else', async () => {
    // Without native calls it reads what it sends.
    await using peer = await SlowPeer.start({ PLIMSOLL_NO_KOFFI: '1' })
    const { client } = peer.cluster
    const value = client.submit(task(make, { workers: ['slow'], name: 'make' }), 1)
    await wait([value])
    peer.begin('trickle')
    const total = client.submit(task(sum, { workers: ['fast'] }), [value])
    await peer.othersGoOn()
    expect(total.status).toBe('pending')
    expect(await total.result({ timeout: '20s' })).toBe(1)
    expect(await peer.runs('make')).toBe(1)
  })
})

describe('a peer that stops in the middle of a value', () => {
  it('is given up after worker-ttl, and the value taken from another worker that has it', async () => {
    await using peer = await SlowPeer.start()
    const { client } = peer.cluster
    const values = client.map(task(make, { workers: ['slow'], name: 'make' }), [1, 2, 3])
    await client.replicate(values, { n: 2, workers: ['slow', 'other'] })
    peer.begin('stop')
    // Both are asked for one value at a time.
    const total = client.submit(task(sum, { workers: ['fast'] }), values)
    await peer.stopped()
    await peer.othersGoOn()
    expect(total.status).toBe('pending')
    expect(await total.result({ timeout: '20s' })).toBe(6)
    expect(await peer.runs('make')).toBe(3)
  })

  it('is started again after worker-ttl, and the only copy read from its files', async () => {
    await using peer = await SlowPeer.start()
    const { client } = peer.cluster
    const value = client.submit(task(make, { workers: ['slow'], name: 'make' }), 1)
    await wait([value])
    const before = peer.cluster.worker('slow')
    peer.begin('stop')
    const total = client.submit(task(sum, { workers: ['fast'] }), [value])
    await peer.stopped()
    const here = value.result({ timeout: '30s' })
    await peer.othersGoOn()
    expect(await total.result({ timeout: '20s' })).toBe(1)
    expect((await here)[0]).toBe(1)
    expect(await peer.runs('make')).toBe(1)
    expect(peer.cluster.worker('slow')).toMatchObject({ id: before.id, restarts: 1 })
  })

  it('is given up after worker-grace when its nanny stopped with it: what it had is computed again, or reported as lost', async () => {
    await using peer = await SlowPeer.start()
    const { client } = peer.cluster
    const value = client.submit(task(make, { workers: ['slow'], allowOtherWorkers: true, name: 'make' }), 1)
    const scattered = client.scatter(make(2), { workers: ['slow'] })
    await wait([value, scattered])
    expect(Object.values(await client.whoHas([value, scattered])).flat()).toEqual(
      [1, 2].map(() => peer.cluster.worker('slow').address),
    )
    peer.begin('stop')
    const fast = { workers: ['fast'] }
    const total = client.submit(task(sum, { ...fast, name: 'total' }), [value])
    await peer.stopped()
    process.kill(peer.nanny, 'SIGSTOP')
    const lost = client.submit(task(sum, { ...fast, name: 'lost' }), [scattered])
    await peer.othersGoOn()
    expect(await total.result({ timeout: '30s' })).toBe(1)
    expect(await peer.runs('make')).toBe(2)
    await expect(lost.result({ timeout: '20s' })).rejects.toMatchObject({ code: 'DATA_LOST' })
  })
})
