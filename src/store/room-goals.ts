// Who waits for room in memory (`Spiller.makeRoom`), and until when.
//
// G1. A goal ends when as much has left as was asked for, or when nothing more can leave.
// G2. Copies that nobody has used yet are waited for until those that were there when room was asked for may be dropped, but
//     no longer: who needs what came later fetches it again as soon as it is dropped.

interface RoomGoal {
  readonly below: number
  readonly patientUntilMs: number
  readonly done: () => void
}

export class RoomGoals {
  readonly #goals = new Set<RoomGoal>()

  get size(): number {
    return this.#goals.size
  }

  /** Resolves when no more than so many bytes are held, or nothing more can leave. */
  add(below: number, patientUntilMs: number): Promise<void> {
    return new Promise((resolve) => this.#goals.add({ below, patientUntilMs, done: resolve }))
  }

  /** Bytes of these that are in the way of the most demanding goal. */
  excess(bytes: number): number {
    let excess = Number.NEGATIVE_INFINITY
    for (const { below } of this.#goals) excess = Math.max(excess, bytes - below)
    return excess
  }

  /** G1; `waitsFor`: whether a goal of this patience may still be reached. */
  end(held: number, waitsFor: (patientUntilMs: number) => boolean): void {
    for (const goal of this.#goals) {
      if (held > goal.below && waitsFor(goal.patientUntilMs)) continue
      this.#goals.delete(goal)
      goal.done()
    }
  }

  /** The store closes: nobody is kept waiting. */
  endAll(): void {
    this.end(0, () => false)
  }
}
