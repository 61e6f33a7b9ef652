import { describe, expect, it } from 'vitest'
import { taskKey, type RunId } from '../base/ids.ts'
import type { RegisterWorker, WorkerToScheduler } from '../protocol/scheduler-worker.ts'
import { Unsent } from './unsent.ts'

const NOTHING = { inventory: { keys: [], tasks: [] } } as unknown as RegisterWorker

const end = (run: number): WorkerToScheduler => ({ op: 'task-cancelled', key: taskKey(`k${run}`), runId: run as RunId })
const news: WorkerToScheduler = { op: 'worker-status-change', status: 'paused' }

function up(): Unsent {
  const unsent = new Unsent()
  unsent.registering(NOTHING)
  unsent.registered()
  return unsent
}

/** Runs that the next inventory names, and what is sent after it. */
function reconnect(unsent: Unsent): { named: number[]; sent: WorkerToScheduler[] } {
  unsent.lost()
  const { tasks } = unsent.registering(NOTHING).inventory
  return { named: tasks.map(({ runId }) => runId), sent: unsent.registered() }
}

describe('what a worker could not say', () => {
  it('is kept while there is no connection, if no inventory can tell it', () => {
    const unsent = new Unsent()
    expect([unsent.admit(end(1)), unsent.admit(news)]).toEqual([false, false])
    expect(reconnect(unsent)).toEqual({ named: [1], sent: [end(1)] })
  })

  it('is kept in order between the inventory and its answer', () => {
    const unsent = new Unsent()
    unsent.registering(NOTHING)
    expect([unsent.admit(news), unsent.admit(end(1)), unsent.up]).toEqual([false, false, false])
    expect(unsent.registered()).toEqual([news, end(1)])
    expect(unsent.up).toBe(true)
  })

  it('is said again when the connection broke before an answer confirmed it', () => {
    const unsent = up()
    expect([unsent.admit(end(1)), unsent.admit(news), unsent.admit(end(2))]).toEqual([true, true, true])
    expect(reconnect(unsent)).toEqual({ named: [1, 2], sent: [end(1), end(2)] })
    expect(reconnect(unsent)).toEqual({ named: [1, 2], sent: [end(1), end(2)] })
  })

  it('is forgotten when a question that was asked behind it is answered', () => {
    const unsent = up()
    unsent.admit(end(1))
    unsent.admit(end(2))
    const asked = unsent.endsSent
    unsent.admit(end(3))
    unsent.confirm(asked)
    // An answer that was overtaken.
    unsent.confirm(1)
    expect(reconnect(unsent).named).toEqual([3])
    unsent.confirm(unsent.endsSent)
    expect(reconnect(unsent).named).toEqual([])
  })

  it('is bounded', () => {
    const unsent = up()
    for (let run = 1; run <= 10_002; run++) unsent.admit(end(run))
    const { named } = reconnect(unsent)
    expect([named.length, named[0]]).toEqual([10_000, 3])
    unsent.confirm(unsent.endsSent)
    expect(reconnect(unsent).named).toEqual([])
  })
})
