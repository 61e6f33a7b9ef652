import type { Turn } from '../turn.ts'

/** A pause this long hands back what has not started. */
export const HAND_BACK_AFTER_MS = 500

/** One timer at a time. */
export function armHandBack(turn: Turn): void {
  if (turn.state.handBackTimer) return
  turn.state.handBackTimer = true
  turn.emit({ kind: 'SetTimer', delayMs: HAND_BACK_AFTER_MS, event: { kind: 'HandBackDue' } })
}
