/** Transfers below this say more about the round trip than about the line. */
const WORTH_MEASURING_BYTES = 2 ** 20

/** Mean speed of transfers per peer, between two reports. */
export class Bandwidths {
  #sums = new Map<string, { bytes: number; ms: number }>()

  add(peer: string, bytes: number, ms: number): void {
    if (bytes < WORTH_MEASURING_BYTES || ms <= 0) return
    const sum = this.#sums.get(peer)
    if (sum === undefined) {
      this.#sums.set(peer, { bytes, ms })
      return
    }
    sum.bytes += bytes
    sum.ms += ms
  }

  /** Bytes/s per peer since the last call. */
  take(): Record<string, number> {
    const taken = Object.fromEntries([...this.#sums].map(([peer, { bytes, ms }]) => [peer, (bytes / ms) * 1000]))
    this.#sums = new Map()
    return taken
  }
}
