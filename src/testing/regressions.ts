// Seeds that failed once, each with what it showed. `npm test` runs them all. A seed names its history only as long as
// scenarios are planned as they were; the tests of the cores named beside it keep what it found.

export interface Regression {
  readonly seed: number
  readonly name: string
  readonly what: string
}

export const REGRESSIONS: readonly Regression[] = [
  {
    seed: 130,
    name: 'restart of a worker that is being closed',
    what: 'client.restart() waited for a worker whose nanny had given it up (scheduler/core/data.test.ts, restart)',
  },
  {
    seed: 159,
    name: 'restart of a worker whose machine dies',
    what: 'a worker that never came back from a restart was remembered for ever (scheduler/core/data.test.ts, restart)',
  },
  {
    seed: 32,
    name: 'client that dies in the middle of a scatter',
    what: 'what had arrived at a worker stayed there for ever (scheduler/core/data.test.ts, scattered data)',
  },
  {
    seed: 729,
    name: 'retirement while the only copy is damaged',
    what: 'peers asked for it for ever (worker/worker.test.ts, a damaged copy of a peer), one when it was gone (scheduler/core/retire.test.ts, calls a copy back)',
  },
  {
    seed: 544,
    name: 'client whose first try to come back is met by silence',
    what: 'one try took the whole grace, and the client gave up a scheduler that could be reached again (client/core/attachment.test.ts)',
  },
  {
    seed: 196,
    name: 'copy whose confirmation crosses the order to drop it',
    what: 'it was counted for ever, and what needed it was handed back for ever (scheduler/core/data.test.ts, replicas)',
  },
]
