import { claimOf, type FutureOwner } from './future.ts'
import type { FutureState } from './future-state.ts'
import { futuresIn, type Futures } from './futures-in.ts'

/** Has the tasks run to their end although nobody holds their futures; then their results are dropped. */
export function fireAndForget(futures: Futures): void {
  const byOwner = new Map<FutureOwner, Set<FutureState>>()
  for (const future of futuresIn(futures)) {
    const { owner, state } = claimOf(future)
    const states = byOwner.get(owner)
    if (states === undefined) byOwner.set(owner, new Set([state]))
    else states.add(state)
  }
  for (const [owner, states] of byOwner) owner.fireAndForget([...states])
}
