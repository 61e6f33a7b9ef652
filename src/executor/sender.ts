// What an executor says to its worker: a message is written at once, or held back in the outbox (native/outbox.ts) to be
// written together with the next ones. A write wakes the worker and costs both as much as a trivial task does.
//
// O1. Messages reach the pipe in order: whatever is written takes everything held back along.
// O2. Only what the worker can read from the outbox is held back; so whatever happens next, it is not lost.
// O3. Only results are held back: the worker may hear them twice, and knows those that it heard.

import type { Outbox } from '../native/outbox.ts'
import type { ExecutorToWorker } from '../protocol/worker-executor.ts'
import { MessageWriter } from '../runner/pipe-framing.ts'

type Finished = Extract<ExecutorToWorker, { op: 'finished' }>

export class Sender {
  readonly #writer = new MessageWriter<ExecutorToWorker>()
  /** Returns when the bytes are in the pipe. */
  readonly #write: (bytes: Uint8Array) => void
  #outbox: Outbox | null = null
  /** When the first message was held back that still is, milliseconds. */
  #since = 0

  constructor(write: (bytes: Uint8Array) => void) {
    this.#write = write
  }

  /** Without one nothing is held back. */
  useOutbox(outbox: Outbox | null): void {
    this.#outbox = outbox
  }

  /** In the pipe when it returns. */
  send(message: ExecutorToWorker): void {
    this.flush()
    this.#write(this.#writer.frame([message]))
  }

  /** To be written within `maxMs`, counted from the first that is held back; whoever holds back also flushes. */
  hold(message: Finished, nowMs: number, maxMs: number): void {
    const outbox = this.#outbox
    if (outbox === null) return this.send(message)
    if (outbox.isEmpty) this.#since = nowMs
    const bytes = this.#writer.frame([message])
    if (!outbox.append(bytes)) {
      this.flush()
      this.#write(bytes)
    } else if (nowMs - this.#since > maxMs) this.flush()
  }

  flush(): void {
    const outbox = this.#outbox
    if (outbox === null || outbox.isEmpty) return
    this.#write(outbox.contents)
    outbox.empty()
  }
}
