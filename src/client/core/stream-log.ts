// What a client has said to the scheduler and must perhaps say again: its stream messages, from the first that the
// scheduler is not known to have carried out. Pure: the shell (scheduler-link.ts) sends, asks and reconnects.
//
// L1. Messages are numbered from 1 in the order they were posted, over the client's life; both ends count. A message
//     leaves the log when the scheduler is known to have carried it out.
// L2. At most WINDOW_BYTES are on their way at a time, or a single message. What else was posted waits here.
// L3. After a reconnect sending goes on behind what the scheduler has carried out: nothing is lost, nothing comes twice.

import { invariant } from '../../base/invariant.ts'
import type { ClientToScheduler } from '../../protocol/scheduler-client.ts'

/** On their way: seconds of work for a cluster, but no more of it than a scheduler takes in before a heartbeat is overdue. */
const WINDOW_BYTES = 16 * 2 ** 20
/** From here on the scheduler is asked how far it is, so that the log can be cleared. */
const QUESTION_MESSAGES = 512
const QUESTION_BYTES = 4 * 2 ** 20

export class StreamLog {
  #messages: ClientToScheduler[] = []
  #sizes: number[] = []
  /** How many left the log in front of `#messages`. */
  #applied = 0
  /** Sent, of those in the log. */
  #sending = 0
  #sendingBytes = 0
  #bytes = 0

  /** Number of the last message that was posted, and of the last that was sent. */
  get posted(): number {
    return this.#applied + this.#messages.length
  }

  get sent(): number {
    return this.#applied + this.#sending
  }

  /** Estimate of the memory that the log keeps. */
  get bytes(): number {
    return this.#bytes
  }

  /** So much is on its way that it is worth a question how far the scheduler is. */
  get questionDue(): boolean {
    return this.#sending >= QUESTION_MESSAGES || this.#sendingBytes >= QUESTION_BYTES
  }

  post(message: ClientToScheduler): void {
    const size = messageBytes(message)
    this.#messages.push(message)
    this.#sizes.push(size)
    this.#bytes += size
  }

  /** The next message to send now; undefined when all were sent or the window is full (L2). */
  next(): ClientToScheduler | undefined {
    const message = this.#messages[this.#sending]
    if (message === undefined) return undefined
    const size = this.#sizes[this.#sending] as number
    if (this.#sending > 0 && this.#sendingBytes + size > WINDOW_BYTES) return undefined
    this.#sending++
    this.#sendingBytes += size
    return message
  }

  /** Everything that was not sent yet, whatever the window: the last that is said on a connection. */
  rest(): readonly ClientToScheduler[] {
    const rest = this.#messages.slice(this.#sending)
    this.#sending = this.#messages.length
    this.#sendingBytes = this.#bytes
    return rest
  }

  /** The scheduler has carried out everything up to this number. */
  applied(number: number): void {
    const count = number - this.#applied
    if (count <= 0) return
    invariant(count <= this.#sending, () => `message ${number} was carried out, ${this.sent} were sent`)
    let bytes = 0
    for (let n = 0; n < count; n++) bytes += this.#sizes[n] as number
    if (count === this.#messages.length) {
      this.#messages = []
      this.#sizes = []
    } else {
      this.#messages.splice(0, count)
      this.#sizes.splice(0, count)
    }
    this.#applied = number
    this.#sending -= count
    this.#sendingBytes -= bytes
    this.#bytes -= bytes
  }

  /** On a new connection: everything behind this number is to be sent (again). False: the two counts contradict each other. */
  rewind(applied: number): boolean {
    if (applied < this.#applied || applied > this.sent) return false
    this.applied(applied)
    this.#sending = 0
    this.#sendingBytes = 0
    return true
  }
}

const MESSAGE_BYTES = 256
const ITEM_BYTES = 128

function messageBytes(message: ClientToScheduler): number {
  switch (message.op) {
    case 'update-graph': {
      let bytes = MESSAGE_BYTES
      for (const fn of message.functions) bytes += fn.bytes.length
      for (const { tasks } of message.groups)
        for (const [, args, dependencies] of tasks) bytes += ITEM_BYTES * (1 + dependencies.length) + args.length
      return bytes
    }
    case 'client-desires-keys':
    case 'client-releases-keys':
    case 'client-awaits-values':
    case 'cancel-keys':
    case 'fire-and-forget':
      return MESSAGE_BYTES + ITEM_BYTES * message.keys.length
    case 'update-data':
      return MESSAGE_BYTES + ITEM_BYTES * message.entries.length
    default:
      return MESSAGE_BYTES
  }
}
