// What tells the processes that an executor started from all others of the machine, wherever they have gone
// (native/process-family.ts): a mark in the environment, unique to the executor, containers with the same user included.

/** The marks of all executors above a process: tasks may start clusters of their own. */
const VARIABLE = 'PLIMSOLL_EXECUTOR'

/** Makes the marks for executors that this process starts. */
export class Marks {
  /** What all of them have in common, and nobody else's. */
  readonly common = `${process.pid}-${process.hrtime.bigint()}.`
  #count = 0

  next(): string {
    return `${this.common}${++this.#count};`
  }
}

/** The environment of a process that gets this mark. */
export function withMark(environment: NodeJS.ProcessEnv, mark: string): NodeJS.ProcessEnv {
  return { ...environment, [VARIABLE]: (environment[VARIABLE] ?? '') + mark }
}
