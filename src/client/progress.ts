// A bar per function name on a terminal, redrawn in place. What is not a terminal gets nothing: progress is for people.
//
// B1. The cursor is hidden only between start and finish, and comes back however the program ends, Ctrl-C included.
// B2. Drawing never keeps the process alive, and nothing is drawn more often than every FRAME_MS.

import { formatDurationMs } from '../base/units.ts'
import { refuseUnknown } from '../errors/unknown-option.ts'
import { claimOf } from './future.ts'
import type { FutureState } from './future-state.ts'
import { futuresIn, type Futures } from './futures-in.ts'
import { WAIT_OPTIONS, waitWithin, type WaitOptions } from './wait-limits.ts'

export interface ProgressOptions extends WaitOptions {
  /** Default: stderr. */
  readonly stream?: ProgressStream
}

/** As much of a terminal as is needed. */
export interface ProgressStream {
  readonly isTTY?: boolean
  readonly columns?: number
  readonly rows?: number
  write(text: string): unknown
}

interface Bar {
  readonly name: string
  readonly total: number
  done: number
  failed: number
  /** When its last future was done. */
  endedMs: number | null
}

const FRAME_MS = 100
const HIDE_CURSOR = '\u001B[?25l'
const SHOW_CURSOR = '\u001B[?25h'
const CLEAR_LINE = '\u001B[2K'
const WIDTH_DEFAULT = 80
const HEIGHT_DEFAULT = 24
const NAME_WIDTH_MAX = 24
const BAR_WIDTH = { least: 10, most: 40 } as const

/** Shows how far futures are, until all of them are done, whatever their outcome. Throws only `TIMEOUT` or the signal's reason. */
export async function progress(futures: Futures, options: ProgressOptions = {}): Promise<void> {
  refuseUnknown('progress', options, ['stream', ...WAIT_OPTIONS])
  const states = new Map(futuresIn(futures).map((future) => [claimOf(future).state, claimOf(future)] as const))
  const [first] = states.values()
  if (first === undefined) return
  const bars = new Bars([...states.keys()])
  const screen = new Screen(options.stream ?? process.stderr, bars)
  for (const { owner, state } of states.values()) owner.retain(state)
  const finished = waitWithin<void>(
    options,
    () => `${bars.left} futures did not finish`,
    ({ resolve }) => {
      const listener = (state: FutureState) => {
        bars.settled(state)
        if (bars.left === 0) resolve()
      }
      for (const state of states.keys()) state.whenSettled(listener)
      return () => {
        for (const { owner, state } of states.values()) {
          state.unlisten(listener)
          owner.release(state)
        }
      }
    },
  )
  screen.start()
  try {
    await first.owner.keepAlive.during(finished)
  } finally {
    screen.finish()
  }
}

class Bars {
  readonly #bars = new Map<string, Bar>()
  readonly #startMs = performance.now()
  left: number

  constructor(states: readonly FutureState[]) {
    this.left = states.length
    const totals = new Map<string, number>()
    for (const { name } of states) totals.set(name, (totals.get(name) ?? 0) + 1)
    for (const [name, total] of totals) this.#bars.set(name, { name, total, done: 0, failed: 0, endedMs: null })
  }

  settled(state: FutureState): void {
    const bar = this.#bars.get(state.name) as Bar
    this.left--
    bar.done++
    if (state.outcome.status !== 'finished') bar.failed++
    if (bar.done === bar.total) bar.endedMs = performance.now()
  }

  lines(columns: number): string[] {
    const bars = [...this.#bars.values()]
    const nameWidth = Math.min(NAME_WIDTH_MAX, Math.max(...bars.map((bar) => bar.name.length)))
    const countWidth = Math.max(...bars.map((bar) => String(bar.total).length))
    return bars.map((bar) => {
      const name = bar.name.length > nameWidth ? `${bar.name.slice(0, nameWidth - 1)}…` : bar.name.padEnd(nameWidth)
      const counts = `${String(bar.done).padStart(countWidth)}/${String(bar.total).padEnd(countWidth)}`
      const elapsed = formatDurationMs((bar.endedMs ?? performance.now()) - this.#startMs)
      const failed = bar.failed > 0 ? `  ${bar.failed} failed` : ''
      const room = columns - 1 - nameWidth - counts.length - elapsed.length - failed.length - 8
      const width = Math.max(BAR_WIDTH.least, Math.min(BAR_WIDTH.most, room))
      const filled = Math.floor((bar.done / bar.total) * width)
      return `${name}  [${'#'.repeat(filled)}${'.'.repeat(width - filled)}]  ${counts}  ${elapsed}${failed}`.slice(
        0,
        Math.max(1, columns - 1),
      )
    })
  }
}

class Screen {
  readonly #stream: ProgressStream
  readonly #bars: Bars
  #drawn = 0
  #timer: NodeJS.Timeout | null = null

  constructor(stream: ProgressStream, bars: Bars) {
    this.#stream = stream
    this.#bars = bars
  }

  start(): void {
    if (this.#stream.isTTY !== true) return
    this.#stream.write(HIDE_CURSOR)
    process.on('exit', this.#restore)
    process.on('SIGINT', this.#onInterrupt)
    this.#draw()
    this.#timer = setInterval(() => this.#draw(), FRAME_MS)
    this.#timer.unref()
  }

  finish(): void {
    if (this.#timer === null) return
    clearInterval(this.#timer)
    this.#timer = null
    this.#draw()
    this.#restore()
    process.off('exit', this.#restore)
    process.off('SIGINT', this.#onInterrupt)
  }

  #draw(): void {
    // A terminal that was never told its size says 0.
    const lines = this.#bars.lines(this.#stream.columns || WIDTH_DEFAULT)
    // What has scrolled away cannot be drawn over.
    const room = Math.max(2, (this.#stream.rows || HEIGHT_DEFAULT) - 1)
    if (lines.length > room) lines.splice(room - 1, lines.length, `… and ${lines.length - room + 1} more`)
    const up = this.#drawn > 0 ? `\u001B[${this.#drawn}A` : ''
    this.#stream.write(up + lines.map((line) => `${CLEAR_LINE}${line}\n`).join(''))
    this.#drawn = lines.length
  }

  readonly #restore = (): void => {
    this.#stream.write(SHOW_CURSOR)
  }

  /** Only puts the terminal right. Where nobody else handles the signal, it goes on to do what it does by default. */
  readonly #onInterrupt = (): void => {
    const alone = process.listenerCount('SIGINT') === 1
    this.finish()
    if (alone) process.kill(process.pid, 'SIGINT')
  }
}
