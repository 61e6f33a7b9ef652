import { describe, expect, it } from 'vitest'
import { taskKey, type TaskKey } from '../base/ids.ts'
import { OVERHEAD_BYTES } from './core/collection-policy.ts'
import { encodeError } from '../values/error.ts'
import type { FutureState } from './future-state.ts'
import { FuturesRegistry } from './futures-registry.ts'

const KEY = taskKey('add-1')

function setup() {
  const released: (readonly TaskKey[])[] = []
  const turns: (() => void)[] = []
  const registry = new FuturesRegistry({
    release: (keys) => released.push(keys),
    schedule: (flush) => turns.push(flush),
  })
  const hold = (key: TaskKey = KEY): FutureState => {
    const state = registry.reusable(key) ?? registry.create(key, 'add')
    registry.retain(state)
    return state
  }
  const endTurn = () => turns.splice(0).forEach((flush) => flush())
  return { registry, released, hold, endTurn }
}

const GIVEN_UP = { reason: 'by another', code: 'TASK_CANCELLED' } as const
const FINISHED = { op: 'key-in-memory', key: KEY, nbytes: 8, type: 'number' } as const

describe('the futures registry', () => {
  it('shares one state per key and releases it with its last reference, once per turn', () => {
    const { registry, released, hold, endTurn } = setup()
    const [a, b, other] = [hold(), hold(), hold(taskKey('add-2'))]
    expect(a).toBe(b)
    registry.release(a)
    registry.release(other)
    endTurn()
    registry.release(b)
    endTurn()
    endTurn()
    expect(released).toEqual([[other.key], [KEY]])
    expect(registry.size).toBe(0)
    expect(() => registry.release(a)).toThrow(/more often/)
  })

  it('applies the news of the scheduler', () => {
    const { registry, hold } = setup()
    const state = hold()
    const seen: string[] = []
    const listener = (settled: FutureState) => seen.push(settled.outcome.status)
    const listen = () => state.whenSettled(listener)
    listen()
    registry.apply(FINISHED)
    expect(state.outcome).toEqual({ status: 'finished', nbytes: 8, type: 'number' })
    registry.apply({ op: 'lost-data', key: KEY })
    expect(state.settled).toBe(false)
    listen()
    registry.apply({
      op: 'task-erred',
      key: KEY,
      error: encodeError(new TypeError('no')),
      worker: 'tcp://w',
      origin: taskKey('root'),
    })
    registry.apply({ op: 'task-retried', keys: [KEY] })
    registry.apply({ op: 'cancelled-keys', keys: [KEY], reason: 'lost dependencies', code: 'TASK_CANCELLED' })
    registry.apply(FINISHED)
    expect(state.outcome.status).toBe('cancelled')
    registry.apply({ op: 'key-in-memory', key: taskKey('unknown'), nbytes: 1, type: 'x' })
    expect(seen).toEqual(['finished', 'error'])
  })

  it('makes the error of a failed task once, with its origin', () => {
    const { registry, hold } = setup()
    const state = hold()
    registry.apply({
      op: 'task-erred',
      key: KEY,
      error: encodeError(new TypeError('no')),
      worker: 'tcp://w',
      origin: taskKey('root'),
    })
    const { outcome } = state
    if (outcome.status !== 'error') throw new Error('not an error')
    expect(outcome.error).toBe(outcome.error)
    expect(outcome.error).toMatchObject({ message: 'no', plimsoll: { key: 'root', worker: 'tcp://w' } })
  })

  it('gives a cancelled or lost key a new state when it is submitted again, and ignores handles of the old one', () => {
    const { registry, released, hold, endTurn } = setup()
    const old = hold()
    registry.cancel([old], 'by the user')
    const fresh = hold()
    expect(fresh).not.toBe(old)
    registry.release(old)
    endTurn()
    expect([released, fresh.settled, registry.get(KEY)]).toEqual([[], false, fresh])
    registry.apply({ op: 'cancelled-keys', keys: [KEY], reason: 'no copy', code: 'DATA_LOST' })
    expect(fresh.outcome.status).toBe('lost')
    expect(hold()).not.toBe(fresh)
  })

  it('takes no news of the earlier life of a key that was cancelled and submitted again for news of the new one', () => {
    const { registry, hold } = setup()
    const erred = {
      op: 'task-erred',
      key: KEY,
      error: encodeError(new TypeError('no')),
      worker: 'tcp://w',
      origin: KEY,
    } as const
    const old = hold()
    registry.cancel([old], 'by the user')
    const cancel = registry.nextCancel()
    const fresh = hold()
    expect(fresh).not.toBe(old)
    for (const message of [FINISHED, erred, { op: 'cancelled-keys', keys: [KEY], ...GIVEN_UP } as const]) {
      registry.apply({ ...message, ...(message.op === 'key-in-memory' && { blob: new Uint8Array(8) }) })
      expect([fresh.outcome.status, fresh.attached]).toEqual(['pending', null])
    }
    const error = new Error('not sent')
    registry.settle(fresh, { status: 'error', error })
    registry.apply({ op: 'lost-data', key: KEY })
    registry.apply({ op: 'task-retried', keys: [KEY] })
    expect(fresh.outcome).toEqual({ status: 'error', error })
    registry.apply({ op: 'cancelled-keys', keys: [], ...GIVEN_UP, cancel })
    registry.apply({ op: 'task-retried', keys: [KEY] })
    registry.apply(FINISHED)
    expect(fresh.outcome.status).toBe('finished')
  })

  it('waits for the answer to its last cancel, and hears of a value that is lost meanwhile', () => {
    const { registry, hold } = setup()
    const state = hold()
    registry.apply(FINISHED)
    const [first, second] = [registry.nextCancel(), registry.nextCancel()]
    expect(registry.reclaim(state)).toBe(true)
    registry.apply({ op: 'lost-data', key: KEY })
    expect(state.outcome.status).toBe('pending')
    registry.apply({ op: 'cancelled-keys', keys: [KEY], ...GIVEN_UP, cancel: first })
    registry.apply(FINISHED)
    expect([state.outcome.status, registry.cancelling]).toEqual(['pending', true])
    registry.apply({ op: 'cancelled-keys', keys: [KEY], ...GIVEN_UP, cancel: second })
    registry.apply(FINISHED)
    expect([state.outcome.status, registry.cancelling]).toEqual(['finished', false])
    registry.apply({ op: 'cancelled-keys', keys: [KEY], ...GIVEN_UP })
    expect(state.outcome.status).toBe('cancelled')
  })

  it('releases a key before it is asked for again in the same turn', () => {
    const { registry, released, hold, endTurn } = setup()
    registry.release(hold())
    expect(released).toEqual([])
    hold()
    expect(released).toEqual([[KEY]])
    endTurn()
    expect(released).toEqual([[KEY]])
  })

  it('cancels and forgets older generations on a restart', () => {
    const { registry, released, hold, endTurn } = setup()
    const old = hold()
    registry.restart(1)
    registry.restart(1)
    expect([old.outcome.status, registry.size]).toEqual(['cancelled', 0])
    const fresh = hold()
    expect([fresh.generation, released]).toEqual([1, [[KEY]]])
    registry.release(old)
    registry.apply({ op: 'restart', generation: 1 })
    endTurn()
    expect([fresh.settled, registry.get(KEY), released]).toEqual([false, fresh, [[KEY]]])
  })

  it('knows how much its futures keep on the cluster, whatever becomes of them', () => {
    const { registry, hold } = setup()
    const each = 8 + OVERHEAD_BYTES
    const other = taskKey('add-2')
    const [one, two] = [hold(), hold(other)]
    hold()
    expect(registry.heldBytes).toBe(0)
    registry.apply(FINISHED)
    registry.apply({ ...FINISHED, key: other })
    registry.apply(FINISHED)
    expect(registry.heldBytes).toBe(2 * each)
    registry.release(one)
    expect(registry.heldBytes).toBe(2 * each)
    registry.apply({ op: 'lost-data', key: KEY })
    expect(registry.heldBytes).toBe(each)
    registry.apply(FINISHED)
    registry.cancel([two], 'enough')
    expect(registry.heldBytes).toBe(each)
    registry.release(two)
    registry.restart(1)
    expect(registry.heldBytes).toBe(0)
    registry.release(one)
    hold(other)
    registry.apply({ ...FINISHED, key: other })
    expect(registry.heldBytes).toBe(each)
  })

  it('releases the inputs of a state with it', () => {
    const { registry, released, hold, endTurn } = setup()
    const [state, input] = [hold(), hold(taskKey('input'))]
    state.releaseInputs = () => registry.release(input)
    registry.release(state)
    endTurn()
    expect(released.flat().toSorted()).toEqual(['add-1', 'input'])
  })

  it('fails what is pending when the scheduler closes, and only that', () => {
    const { registry, hold } = setup()
    const [done, pending] = [hold(), hold(taskKey('add-2'))]
    registry.apply(FINISHED)
    registry.apply({ op: 'scheduler-closing', reason: 'stopped' })
    expect([done.outcome.status, pending.outcome.status]).toEqual(['finished', 'error'])
  })
})
