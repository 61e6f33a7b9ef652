// What is said about a simulated cluster in reports and failures: how its tasks stand, and how they came there.

import { statusOf } from '../worker/core/state.ts'
import { storyOf } from '../worker/core/story.ts'
import type { SimCluster } from './sim-cluster.ts'

/** Stories that are told in full. */
const STORIES_MAX = 4

/** How each future that somebody holds stands. */
export function describeOutcome(cluster: SimCluster): string[] {
  return cluster.clients.flatMap((client) =>
    [...client.held.values()].map(({ state, value, failure }) => {
      const what = value !== null ? `value ${value.digest}` : (failure?.message ?? 'nothing read')
      return `${client.name} ${state.key}: ${state.outcome.status}, ${what}`
    }),
  )
}

/** Who waits for what, and the stories of some of it. */
export function describeStuck(cluster: SimCluster): string[] {
  const lines: string[] = []
  const keys = new Set<string>()
  for (const client of cluster.clients) {
    if (!client.isSatisfied)
      lines.push(`${client.name} waits (${client.connection?.closed === false ? 'connected' : 'no connection'})`)
    for (const { state, reading } of client.held.values()) {
      if (state.settled && !reading) continue
      lines.push(`${client.name} waits for ${state.key}: ${state.outcome.status}${reading ? ', reading' : ''}`)
      keys.add(state.key)
    }
  }
  const { state } = cluster.scheduler
  if (state.requests.size > 0)
    lines.push(`open requests: ${[...state.requests.values()].map((each) => each.kind).join(', ')}`)
  if (state.restarting.size > 0) lines.push(`told to restart and not back: ${[...state.restarting].join(', ')}`)
  for (const task of state.tasks.values()) {
    if (task.state === 'memory' || task.state === 'erred' || !task.isNeeded) continue
    const where = task.processingOn === null ? '' : ` on ${task.processingOn.id}`
    lines.push(`scheduler: ${task.key} is ${task.state}${where}, waits for ${task.waitingOn} inputs`)
    keys.add(task.key)
  }
  lines.push(...describeWorkers(cluster))
  for (const key of [...keys].slice(0, STORIES_MAX)) lines.push(...storyLines(cluster, key))
  return lines
}

export function describeWorkers(cluster: SimCluster): string[] {
  return cluster.living.map((nanny) => {
    const { worker } = nanny
    const record = cluster.scheduler.state.workers.get(nanny.workerId)
    const known = record === undefined ? 'unknown to the scheduler' : `${record.link} ${record.status}`
    const core = worker?.state ?? null
    if (worker === null || core === null) return `${nanny.workerId}: nanny ${nanny.state.phase.kind}, ${known}`
    const { runs, transfers, waiting, ready, missing } = core
    return (
      `${nanny.workerId}: nanny ${nanny.state.phase.kind}, ${known}, link ${worker.link.up ? 'up' : 'down'}, ${statusOf(core)}, ` +
      `${runs.size} runs, ${transfers.size} transfers, ${waiting.size} waiting, ${ready.size} ready, ${missing.size} missing, ` +
      `pool ${worker.pool.isIdle ? 'idle' : 'busy'}, server ${worker.server.isIdle ? 'idle' : 'busy'}`
    )
  })
}

/** The story of one key, as scheduler and workers tell it. */
export function storyLines(cluster: SimCluster, key: string): string[] {
  const lines = [`story of ${key}:`]
  for (const { at, text } of cluster.scheduler.state.story.of(key)) lines.push(`  scheduler ${at.toFixed(1)} ${text}`)
  for (const worker of cluster.workers) {
    if (worker.state === null) continue
    for (const line of storyOf(worker.state, key as never)) lines.push(`  ${worker.parts.process.name} ${line}`)
  }
  return lines
}
