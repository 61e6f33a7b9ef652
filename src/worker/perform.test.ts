import { describe, expect, it } from 'vitest'
import { deferred } from '../base/deferred.ts'
import { runId, taskKey } from '../base/ids.ts'
import type { Store } from '../store/store.ts'
import type { EventBody } from './core-driver.ts'
import { Performer, type PerformerParts } from './perform.ts'

const [x, y] = [taskKey('x'), taskKey('y')]

/** With a store that holds these and writes slowly. */
function setUp() {
  const held = new Set([x, y])
  const kept = new Set<string>()
  const written = deferred<void>()
  const dispatched: EventBody[] = []
  const store: Pick<Store, 'keepReplicas' | 'persist'> = {
    keepReplicas(keys) {
      const there = keys.filter((key) => held.has(key))
      for (const key of there) kept.add(key)
      return there.map((key) => ({ key, runId: runId(1) }))
    },
    persist: () => written.promise,
  }
  const dispatch = (event: EventBody): void => void dispatched.push(event)
  const performer = new Performer({ store, dispatch } as unknown as PerformerParts)
  return { performer, held, kept, written, dispatched }
}

describe('copies that are to be kept', () => {
  it('are kept from the moment they are asked for, and told when they are in files', async () => {
    const { performer, kept, written, dispatched } = setUp()
    performer.perform({ kind: 'KeepReplicas', keys: [x], durable: true })
    expect([...kept]).toEqual([x])
    expect(dispatched).toEqual([])
    written.resolve()
    await written.promise
    expect(dispatched).toEqual([{ kind: 'ReplicasKept', values: [{ key: x, runId: 1 }] }])
  })

  it('are told only as far as they are still there, and are kept, by then', async () => {
    const { performer, held, kept, written, dispatched } = setUp()
    performer.perform({ kind: 'KeepReplicas', keys: [x, y], durable: true })
    // Both were freed meanwhile; one was fetched again for a task.
    held.delete(y)
    kept.clear()
    written.resolve()
    await written.promise
    expect(dispatched).toEqual([{ kind: 'ReplicasKept', values: [{ key: x, runId: 1 }] }])
    expect([...kept]).toEqual([x])
  })
})
