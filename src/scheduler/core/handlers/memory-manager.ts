// When the active memory manager runs (memory-manager.ts says what a pass does).

import type { EventOf } from '../events.ts'
import { runPolicies, type PassResult } from '../memory-manager.ts'
import type { SchedulerState } from '../state.ts'

const NOTHING: PassResult = { copies: 0, removals: 0 }

export function startMemoryManager(state: SchedulerState): void {
  if (state.options.memoryManager.start) setRunning(state, true)
}

export function memoryManagerTick(state: SchedulerState): void {
  runOnce(state)
  if (state.memoryManagerRuns) state.outbox.setTimer({ kind: 'memory-manager' }, state.options.memoryManager.intervalMs)
}

export function memoryManagerRequested(state: SchedulerState, event: EventOf<'MemoryManagerRequested'>): void {
  let result = NOTHING
  if (event.action === 'start') setRunning(state, true)
  else if (event.action === 'stop') setRunning(state, false)
  else if (event.action === 'run-once') result = runOnce(state)
  state.outbox.answer(event.request, { running: state.memoryManagerRuns, ...result })
}

function setRunning(state: SchedulerState, running: boolean): void {
  if (state.memoryManagerRuns === running) return
  state.memoryManagerRuns = running
  if (running) state.outbox.setTimer({ kind: 'memory-manager' }, state.options.memoryManager.intervalMs)
  else state.outbox.clearTimer({ kind: 'memory-manager' })
}

function runOnce(state: SchedulerState): PassResult {
  const { policies, measure } = state.options.memoryManager
  const result = runPolicies(state, policies, measure)
  if (result.copies > 0 || result.removals > 0)
    state.outbox.log('debug', `memory manager: ${result.copies} copies, ${result.removals} removals`)
  return result
}
