// A client whose connection to a real scheduler is cut at random: what it says is carried out exactly once and in order, what
// it asks is answered, and what it believes of its keys is what the scheduler knows.

import { setImmediate as turn } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { VirtualClock } from '../../src/base/clock.ts'
import { clientId, functionId, taskKey, type TaskKey } from '../../src/base/ids.ts'
import { Prng } from '../../src/base/prng.ts'
import { SchedulerLink, type SchedulerConnection } from '../../src/client/scheduler-link.ts'
import { connect } from '../../src/comm/index.ts'
import { loadConfig } from '../../src/config/index.ts'
import type { PlimsollError } from '../../src/errors/plimsoll-error.ts'
import type { ClientToScheduler, SchedulerToClient } from '../../src/protocol/scheduler-client.ts'
import { PROTOCOL_VERSION } from '../../src/protocol/version.ts'
import { Connection } from '../../src/rpc/connection.ts'
import { Scheduler } from '../../src/scheduler/index.ts'
import { CuttingRelay, type RelayPlan } from './cutting-relay.ts'

const CREDENTIALS = { token: null, tls: null, insecurePlaintext: false }
const FN = functionId('f')

let scheduler: Scheduler

beforeEach(async () => {
  const config = loadConfig({ env: {}, files: [], overrides: { 'scheduler.validate': true } })
  scheduler = new Scheduler({ host: '', port: 0, scheme: 'inproc', credentials: CREDENTIALS, config })
  await scheduler.start()
})

afterEach(async () => {
  await scheduler.close()
})

/** A link under a clock that moves by itself, as fast as the connections allow. */
class End {
  readonly clock = new VirtualClock()
  readonly heard: SchedulerToClient[] = []
  reattached = 0
  ended: PlimsollError | null = null
  link!: SchedulerLink
  readonly id

  constructor(id: string) {
    this.id = clientId(id)
  }

  static async open(address: string, id = 'c', timeoutMs = 600_000): Promise<End> {
    const end = new End(id)
    const identity = { role: 'client', credentials: CREDENTIALS, protocolVersion: PROTOCOL_VERSION }
    const dial = async (tryMs: number, signal: AbortSignal): Promise<SchedulerConnection> =>
      new Connection(await connect(address, { ...identity, timeoutMs: tryMs, signal, retry: 'nothing' }))
    const settings = {
      clientId: end.id,
      name: id,
      timeoutMs,
      heartbeatMs: 5000,
      reconnectMs: null,
      clock: end.clock,
      seed: 1,
    }
    // The first connection may be cut before it has registered: that is the user's to try again.
    for (;;) {
      const link = new SchedulerLink(await dial(1000, new AbortController().signal), dial, settings, {
        onMessages: (messages) => end.heard.push(...messages),
        onGeneration: () => {},
        onReattached: () => {
          end.reattached++
          link.send({ op: 'report-keys' })
        },
        onEnded: (error) => (end.ended = error),
      })
      end.link = link
      const registered = await link.register('test').catch(() => null)
      if (registered !== null) return end
    }
  }

  async until(holds: () => boolean): Promise<void> {
    for (let n = 0; !holds(); n++) {
      if (n > 20_000) throw new Error('nothing came of it')
      await turn()
      this.clock.advance(1)
    }
  }

  async answered<T>(asking: Promise<T>): Promise<T> {
    let over = false
    void asking.catch(() => null).finally(() => (over = true))
    await this.until(() => over)
    return asking
  }
}

function submit(key: TaskKey, first: boolean): ClientToScheduler {
  return {
    op: 'update-graph',
    groups: [{ fn: FN, name: 'f', options: {}, tasks: [[key, new Uint8Array([1]), []]] }],
    functions: first ? [{ id: FN, bytes: new Uint8Array([7]) }] : [],
    wanted: [key],
  }
}

const wantsOf = (id: string): string[] =>
  Array.from(scheduler.state.clients.get(clientId(id))?.wants ?? [], (task) => task.key).toSorted()

describe('a client behind a connection that is cut at random', () => {
  it.each(Array.from({ length: 40 }, (_, batch) => batch))('says everything exactly once (seeds %i)', async (batch) => {
    for (let seed = batch * 5; seed < batch * 5 + 5; seed++) await sayMuch(seed)
  })
})

async function sayMuch(seed: number): Promise<void> {
  const prng = new Prng(seed)
  const plan: RelayPlan = { seed, messagesMax: 4 + prng.int(12), cuts: 3 + prng.int(15) }
  const relay = await CuttingRelay.start(scheduler, plan)
  const end = await End.open(relay.address, `c${seed}`)
  const held = new Set<string>()
  let posted = 0
  let reports = 0
  const asked: Promise<unknown>[] = []
  const open = (): string => prng.pick([...held]) as string
  for (let n = 0; n < 150; n++) {
    const dice = prng.next()
    if (dice < 0.6 || held.size === 0) {
      const key = `k${prng.int(20)}-${seed}`
      end.link.send(submit(taskKey(key), posted === 0))
      held.add(key)
    } else if (dice < 0.9) {
      const key = open()
      held.delete(key)
      end.link.send({ op: 'client-releases-keys', keys: [taskKey(key)] })
    } else {
      asked.push(end.link.request('who-has', { keys: [taskKey(open())] }, 0))
      posted--
    }
    posted++
    if (prng.next() < 0.3) await turn()
    if (prng.next() < 0.1) relay.cutAll()
    end.clock.advance(prng.int(20))
  }
  await end.answered(Promise.all(asked))
  await end.answered(end.link.request('heartbeat', { heard: 0 }, 0))
  reports = end.reattached
  expect(wantsOf(`c${seed}`)).toEqual([...held].toSorted())
  expect(scheduler.state.clients.get(end.id)?.applied).toBe(posted + reports)
  expect(relay.cuts).toBeGreaterThan(0)
  await end.answered(end.link.close(new Error('over') as PlimsollError))
  await relay.close()
}

describe('questions that change something', () => {
  it.each([1, 2, 3, 4, 5, 6, 7, 8])(
    'are carried out once, however often they had to be asked (seed %i)',
    async (seed) => {
      const relay = await CuttingRelay.start(scheduler, { seed, messagesMax: 7, cuts: 30 })
      const end = await End.open(relay.address)
      const before = scheduler.state.generation
      for (let n = 1; n <= 10; n++) {
        const answer = await end.answered(end.link.request('restart', { timeoutMs: 1000, waitForWorkers: false }, 0))
        expect(answer).toMatchObject({ generation: before + n })
      }
      expect(scheduler.state.generation).toBe(before + 10)
      await end.answered(end.link.close(new Error('over') as PlimsollError))
      await relay.close()
    },
  )
})

describe('the end of a lost connection', () => {
  it('comes at once when the scheduler has forgotten the client', async () => {
    const relay = await CuttingRelay.start(scheduler, { seed: 1, messagesMax: 1, cuts: 0 })
    const end = await End.open(relay.address)
    scheduler.state.clients.delete(end.id)
    relay.cutAll()
    const asked = end.link.request('who-has', {}, 0)
    await expect(end.answered(asked)).rejects.toMatchObject({ code: 'COMM_CLOSED' })
    expect(end.ended?.message).toContain('is not known (any more)')
    await relay.close()
  })

  it('comes at once when another scheduler listens there', async () => {
    const other = { id: 'another', address: scheduler.address }
    const relay = await CuttingRelay.start(other, { seed: 1, messagesMax: 1, cuts: 0 })
    const end = await End.open(relay.address)
    relay.cutAll()
    await end.until(() => end.ended !== null)
    expect(end.ended?.message).toContain('another scheduler listens there now')
    await relay.close()
  })

  it('comes at once when the scheduler cannot read what the client says', async () => {
    const end = await End.open(scheduler.address)
    end.link.send({ op: 'client-releases-keys', keys: 5 as never })
    await end.until(() => end.ended !== null)
    expect(end.ended).toMatchObject({ code: 'PROTOCOL_ERROR' })
    expect(end.ended?.message).toContain('"keys" of "client-releases-keys"')
    expect(scheduler.state.clients.size).toBe(0)
  })

  it('comes soon when nothing listens there any more', async () => {
    const relay = await CuttingRelay.start(scheduler, { seed: 1, messagesMax: 1, cuts: 0 })
    const end = await End.open(relay.address)
    await relay.close()
    relay.cutAll()
    await end.until(() => end.ended !== null)
    expect(end.ended).toMatchObject({ code: 'COMM_CLOSED' })
    expect(end.ended?.message).toContain('nothing listens there any more')
    expect(end.clock.now()).toBeLessThan(3000)
  })

  it('leaves nothing behind: a question has its own timeout, and close ends at once', async () => {
    const relay = await CuttingRelay.start(scheduler, { seed: 1, messagesMax: 1, cuts: 0 })
    const end = await End.open(relay.address, 'c', 200)
    relay.cutAll()
    await turn()
    await turn()
    const asked = end.link.request('who-has', {}, 10)
    end.clock.advance(11)
    await expect(asked).rejects.toMatchObject({ code: 'TIMEOUT' })
    const waiting = expect(end.link.request('who-has', {}, 0)).rejects.toThrow('over')
    await end.link.close(new Error('over') as PlimsollError)
    await waiting
    await relay.close()
  })
})
