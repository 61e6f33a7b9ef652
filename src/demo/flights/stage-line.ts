import { asCompleted } from '../../client/as-completed.ts'
import type { Future } from '../../client/future.ts'
import { formatDurationMs } from '../../base/units.ts'

const BAR_WIDTH = 24
const REDRAW_MS = 100
const COLUMNS_DEFAULT = 80

/** Where a stage is reported: one line that is redrawn on a terminal, and a line when it is done anywhere else. */
export class StageLine {
  readonly #title: string
  readonly #total: number
  readonly #unit: string
  readonly #output: NodeJS.WriteStream
  readonly #startedAt = performance.now()
  #drawnAt = 0

  constructor(title: string, total: number, unit: string, output: NodeJS.WriteStream) {
    this.#title = title
    this.#total = total
    this.#unit = unit
    this.#output = output
    this.update(0)
  }

  update(done: number): void {
    if (!this.#output.isTTY || performance.now() - this.#drawnAt < REDRAW_MS) return
    this.#drawnAt = performance.now()
    const filled = Math.round((BAR_WIDTH * done) / Math.max(1, this.#total))
    const bar = '#'.repeat(filled) + '.'.repeat(BAR_WIDTH - filled)
    const line = `${this.#title.padEnd(34)} [${bar}] ${done} of ${this.#total} ${this.#unit}`
    // A wrapped line could not be drawn over. A terminal that was never told its width says 0.
    this.#output.write(`\r\x1b[K${line.slice(0, (this.#output.columns || COLUMNS_DEFAULT) - 1)}`)
  }

  finish(note = ''): void {
    const took = formatDurationMs(performance.now() - this.#startedAt)
    const clear = this.#output.isTTY ? '\r\x1b[K' : ''
    this.#output.write(
      `${clear}${this.#title.padEnd(34)} ${this.#total} ${this.#unit} in ${took}${note === '' ? '' : `, ${note}`}\n`,
    )
  }
}

/** Waits for all futures of a stage with a line of progress; the first error ends it. */
export async function runStage(
  title: string,
  futures: readonly Future<unknown>[],
  output: NodeJS.WriteStream,
  note?: () => string,
): Promise<void> {
  const line = new StageLine(title, futures.length, 'tasks', output)
  let done = 0
  for await (const future of asCompleted(futures)) {
    const error = await future.exception()
    if (error !== undefined) throw error
    line.update(++done)
  }
  line.finish(note?.())
}
