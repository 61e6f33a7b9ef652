// Which state may follow which. Every pair is listed, so a new state does not compile before each of its pairs was thought
// about; what it means to leave and to enter a state is in leave.ts and enter.ts.

import type { LocalTaskState } from '../state.ts'

type Row = { readonly [To in LocalTaskState | 'forgotten']: boolean }

const NEVER: Row = {
  released: false,
  waiting: false,
  ready: false,
  constrained: false,
  executing: false,
  memory: false,
  error: false,
  fetch: false,
  flight: false,
  missing: false,
  forgotten: false,
}

/** `TRANSITIONS[from][to]`. Any assignment of a key goes through `waiting`; only `released` may be forgotten. */
export const TRANSITIONS: { readonly [From in LocalTaskState]: Row } = {
  released: { ...NEVER, waiting: true, memory: true, fetch: true, missing: true, forgotten: true },
  waiting: { ...NEVER, ready: true, constrained: true, released: true, error: true, memory: true },
  ready: { ...NEVER, executing: true, waiting: true, released: true, error: true, memory: true },
  constrained: { ...NEVER, executing: true, waiting: true, released: true, error: true, memory: true },
  executing: { ...NEVER, memory: true, error: true, waiting: true, released: true },
  memory: { ...NEVER, released: true, waiting: true },
  error: { ...NEVER, released: true, waiting: true, memory: true },
  fetch: { ...NEVER, flight: true, missing: true, released: true, waiting: true, memory: true },
  flight: { ...NEVER, memory: true, fetch: true, missing: true, released: true, waiting: true },
  missing: { ...NEVER, fetch: true, released: true, waiting: true, memory: true },
}
