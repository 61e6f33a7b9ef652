// What a seed brings on top of its scenario when it is asked to dwell on one kind of trouble, which seeds otherwise reach
// seldom. It draws from a generator of its own: without stress a seed tells the history that it always told.

import { taskKey } from '../base/ids.ts'
import type { Prng } from '../base/prng.ts'
import type { ClientAct, PlannedAct, Scenario } from './scenario.ts'
import { NO_TROUBLE, type SimTask } from './task-book.ts'

export const STRESSES = ['resubmissions', 'torn-scatters'] as const

/**
 * - `resubmissions`: keys are cancelled and asked for again in one moment, again and again, about when their runs end: news of
 *   older runs meets newer ones.
 * - `torn-scatters`: clients die while what they scatter is under way.
 */
export type Stress = (typeof STRESSES)[number]

interface Added {
  readonly clients: number
  readonly acts: readonly PlannedAct[]
}

const RESUBMITTED = 12
const ROUNDS = 12
/** Least, and what chance adds at most. */
const ROUND_MS = [30, 120] as const
const TORN = 6
/** Between a scatter and the death of its client. */
const TORN_WITHIN_MS = 60
const BYTES = 100

export function withStress(stress: Stress, scenario: Scenario, prng: Prng): Scenario {
  const { clients, acts } = ADDED[stress](scenario, prng)
  return { ...scenario, clients: scenario.clients + clients, acts: [...scenario.acts, ...acts] }
}

const ADDED: Readonly<Record<Stress, (scenario: Scenario, prng: Prng) => Added>> = {
  resubmissions: ({ clients: client, endMs }, prng) => {
    const tasks = Array.from({ length: RESUBMITTED }, (_, n) =>
      plain(`again-${n}`, prng.pick([1, 10, 30]) as number, prng.int(2) === 0),
    )
    const keys = tasks.map((task) => task.key)
    const again: ClientAct = { kind: 'submit', tasks, wanted: keys }
    let atMs = (prng.next() * endMs) / 4
    const acts: PlannedAct[] = [{ atMs, client, act: again }]
    for (let n = 0; n < ROUNDS; n++) {
      atMs += ROUND_MS[0] + prng.next() * ROUND_MS[1]
      acts.push({ atMs, client, act: { kind: 'cancel', keys, force: prng.int(4) === 0 } }, { atMs, client, act: again })
    }
    return { clients: 1, acts }
  },
  'torn-scatters': ({ clients, endMs }, prng) => {
    const acts = Array.from({ length: TORN }, (_, n): PlannedAct[] => {
      const atMs = (0.1 + 0.9 * prng.next()) * endMs
      const tasks = [plain(`torn-${n}`, 0, false)]
      const client = clients + n
      return [
        { atMs, client, act: { kind: 'scatter', tasks, broadcast: prng.int(2) === 0 } },
        { atMs: atMs + prng.next() * TORN_WITHIN_MS, client, act: { kind: 'vanish' } },
      ]
    })
    return { clients: TORN, acts: acts.flat() }
  },
}

function plain(name: string, durationMs: number, random: boolean): SimTask {
  return {
    key: taskKey(name),
    name: 'stress',
    inputs: [],
    bytes: BYTES,
    durationMs,
    random,
    trouble: NO_TROUBLE,
    options: {},
  }
}
