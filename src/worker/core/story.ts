import type { TaskKey } from '../../base/ids.ts'
import type { WorkerState } from './state.ts'

/** Transitions of a key that the log still has, oldest first. `at` is the `now` of the event that caused it. */
export function story(state: WorkerState, key: TaskKey): { readonly at: number; readonly text: string }[] {
  const lines: { at: number; text: string }[] = []
  for (const entry of state.log) {
    if (entry.key !== key) continue
    lines.push({ at: entry.at, text: `${entry.from} -> ${entry.to} (run ${entry.runId}, ${entry.cause})` })
  }
  return lines
}

/** The same as lines for an error message. */
export function storyOf(state: WorkerState, key: TaskKey): string[] {
  return story(state, key).map((line) => `${line.at.toFixed(1)} ${line.text}`)
}
