// Makes the plan of a run that fails smaller while it still fails in the same way: whoever reads it has less to understand.
//
// H1. What is left is a plan that could have been: nothing is built on, released or cancelled that no act before has named.
// H2. Whole acts go first, by halves, then faults, tasks, workers and clients; then everything again, as long as anything goes.

import type { TaskKey } from '../base/ids.ts'
import type { SimulationPlan } from './plan.ts'
import type { ClientAct, PlannedAct } from './scenario.ts'
import type { SimTask } from './task-book.ts'

export interface ShrinkOptions {
  /** What became of a plan: the kind of its failure (`kindOfFailure`), or null. */
  readonly run: (plan: SimulationPlan) => Promise<string | null>
  /** Whether there is time for another try. */
  readonly mayGoOn: () => boolean
}

/** Failures of one kind differ in names and numbers. */
export function kindOfFailure(what: string): string {
  const [line = ''] = what.split('\n')
  return line.replaceAll(/[\w.#-]*\d[\w.#-]*/g, '#')
}

/** A smaller plan that fails as this one does, or the plan itself. */
export async function shrinkPlan(plan: SimulationPlan, { run, mayGoOn }: ShrinkOptions): Promise<SimulationPlan> {
  const kind = await run(plan)
  if (kind === null) return plan
  let best = plan
  const fails = async (smaller: SimulationPlan): Promise<boolean> => {
    if (!mayGoOn() || (await run(smaller)) !== kind) return false
    best = smaller
    return true
  }
  for (let before = ''; before !== JSON.stringify(best) && mayGoOn();) {
    before = JSON.stringify(best)
    await dropSome(best.acts, (acts) => fails(withActs(best, acts)))
    await dropSome(best.faults, (faults) => fails({ ...best, faults }))
    const keys = [...new Set(best.acts.flatMap(({ act }) => tasksOf(act).map(({ key }) => key)))]
    await dropSome(keys, (kept) => fails(withKeys(best, new Set(kept))))
    await dropSome(best.cluster.workers.slice(1), (workers) =>
      fails(withWorkers(best, [...best.cluster.workers.slice(0, 1), ...workers])),
    )
    const clients = 1 + Math.max(0, ...best.acts.map(({ client }) => client))
    if (clients < best.clients) await fails({ ...best, clients })
  }
  return best
}

/** Tries to do without halves of the list, then without quarters, and so on down to single ones. */
async function dropSome<T>(all: readonly T[], isEnough: (some: readonly T[]) => Promise<boolean>): Promise<void> {
  let kept = all
  for (let size = Math.ceil(all.length / 2); size > 0; size = size === 1 ? 0 : Math.ceil(size / 2))
    for (let at = kept.length - size; at > -size; at -= size) {
      const some = [...kept.slice(0, Math.max(0, at)), ...kept.slice(at + size)]
      if (some.length < kept.length && (await isEnough(some))) kept = some
    }
}

function withWorkers(plan: SimulationPlan, workers: SimulationPlan['cluster']['workers']): SimulationPlan {
  const machines = Math.min(plan.cluster.machines, workers.length)
  return { ...plan, cluster: { ...plan.cluster, workers, machines } }
}

function withKeys(plan: SimulationPlan, kept: ReadonlySet<TaskKey>): SimulationPlan {
  const acts = plan.acts.map((planned): PlannedAct => {
    const { act } = planned
    if (act.kind !== 'submit' && act.kind !== 'scatter') return planned
    const tasks = act.tasks.filter(({ key }) => kept.has(key))
    return { ...planned, act: { ...act, tasks } }
  })
  return withActs(plan, acts)
}

/** H1. */
function withActs(plan: SimulationPlan, acts: readonly PlannedAct[]): SimulationPlan {
  const known = new Set<TaskKey>()
  /** A task that is submitted again is what it was the first time. */
  const calls = new Map<string, SimTask>()
  const cleaned = new Map<PlannedAct, PlannedAct>()
  for (const planned of acts.toSorted((a, b) => a.atMs - b.atMs)) {
    const { act } = planned
    for (const { key } of tasksOf(act)) known.add(key)
    for (const task of tasksOf(act)) {
      const id = task.id ?? task.key
      if (!calls.has(id)) calls.set(id, overKnown(task, known))
    }
    cleaned.set(planned, { ...planned, act: overKnownKeys(act, known, calls) })
  }
  return { ...plan, acts: acts.map((planned) => cleaned.get(planned) as PlannedAct).filter(doesSomething) }
}

function tasksOf(act: ClientAct): readonly SimTask[] {
  return act.kind === 'submit' || act.kind === 'scatter' ? act.tasks : []
}

function overKnown(task: SimTask, known: ReadonlySet<TaskKey>): SimTask {
  const isKnown = task.inputs.map((key) => known.has(key))
  const inputs = task.inputs.filter((_, n) => isKnown[n])
  if (task.inputIds === undefined) return { ...task, inputs }
  return { ...task, inputs, inputIds: task.inputIds.filter((_, n) => isKnown[n]) }
}

function overKnownKeys(act: ClientAct, known: ReadonlySet<TaskKey>, calls: ReadonlyMap<string, SimTask>): ClientAct {
  const only = (keys: readonly TaskKey[]): TaskKey[] => keys.filter((key) => known.has(key))
  switch (act.kind) {
    case 'submit':
    case 'scatter': {
      const tasks = act.tasks.map((task) => calls.get(task.id ?? task.key) ?? task)
      return act.kind === 'submit' ? { ...act, tasks, wanted: only(act.wanted) } : { ...act, tasks }
    }
    case 'vanish':
      return act
    default:
      return { ...act, keys: only(act.keys) }
  }
}

function doesSomething({ act }: PlannedAct): boolean {
  if (act.kind === 'vanish') return true
  if (act.kind === 'submit') return act.tasks.length > 0 && act.wanted.length > 0
  return act.kind === 'scatter' ? act.tasks.length > 0 : act.keys.length > 0
}
