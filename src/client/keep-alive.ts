/** The longest delay a timer takes; it never matters when it fires. */
const LONG_MS = 2 ** 31 - 1

/**
 * Keeps the process alive while somebody waits, and only then. A client's sockets are unreferenced, so a program that
 * ends without closing its client just ends; but a top-level `await` on a result must not find an empty event loop.
 */
export class KeepAlive {
  #waiting = 0
  #timer: NodeJS.Timeout | null = null

  /** Every call is answered by one `leave`. */
  enter(): void {
    if (this.#waiting++ > 0) return
    this.#timer ??= setInterval(() => {}, LONG_MS)
    this.#timer.ref()
  }

  leave(): void {
    if (--this.#waiting === 0) this.#timer?.unref()
  }

  async during<T>(work: Promise<T>): Promise<T> {
    this.enter()
    try {
      return await work
    } finally {
      this.leave()
    }
  }

  close(): void {
    if (this.#timer !== null) clearInterval(this.#timer)
    this.#timer = null
  }
}
