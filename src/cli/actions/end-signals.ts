const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/** The signals that ask this process to end: Ctrl-C, `kill`, a closed terminal. From its making on they no longer end it by themselves. */
export class EndSignals {
  /** Resolves with the name of the first one. */
  readonly first: Promise<string>
  /** Resolves with the second one: somebody is in a hurry. */
  readonly second: Promise<string>

  constructor() {
    const resolvers: ((signal: string) => void)[] = []
    this.first = new Promise((resolve) => resolvers.push(resolve))
    this.second = new Promise((resolve) => resolvers.push(resolve))
    for (const signal of SIGNALS) process.on(signal, () => resolvers.shift()?.(signal))
  }
}
