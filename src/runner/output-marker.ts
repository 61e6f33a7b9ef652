// What a task prints goes through the executor's ordinary stdout and stderr. To tell the tasks apart, the executor writes a
// marker into the stream whenever another run starts to print; the worker takes the markers out again.

import { StringDecoder } from 'node:string_decoder'
import { type RunId, runId } from '../base/ids.ts'

const NONE = '-'

export function outputMarker(run: RunId | null): string {
  return `\u0000\u0001${run ?? NONE}\u0000`
}

/** Splits a stream into lines that know the run they were printed by. A line without an end is told when its stream ends. */
export class MarkedLines {
  readonly #decoder = new StringDecoder('utf8')
  readonly #onLine: (text: string, run: RunId | null) => void
  #text = ''
  #run: RunId | null = null

  constructor(onLine: (text: string, run: RunId | null) => void) {
    this.#onLine = onLine
  }

  push(chunk: Buffer): void {
    this.#text += this.#decoder.write(chunk)
    this.#take(false)
  }

  end(): void {
    this.#text += this.#decoder.end()
    this.#take(true)
  }

  #take(ended: boolean): void {
    let start = 0
    for (;;) {
      const newline = this.#text.indexOf('\n', start)
      const marker = this.#text.indexOf('\u0000\u0001', start)
      if (marker >= 0 && (newline < 0 || marker < newline)) {
        const close = this.#text.indexOf('\u0000', marker + 2)
        if (close < 0) break
        if (marker > start) this.#onLine(this.#text.slice(start, marker), this.#run)
        this.#run = parseRun(this.#text.slice(marker + 2, close))
        start = close + 1
      } else if (newline >= 0) {
        this.#onLine(this.#text.slice(start, newline), this.#run)
        start = newline + 1
      } else break
    }
    this.#text = this.#text.slice(start)
    // A line without end is cut here rather than kept for ever.
    if (this.#text !== '' && (ended || this.#text.length > MAX_LINE_CHARS)) {
      this.#onLine(this.#text, this.#run)
      this.#text = ''
    }
  }
}

const MAX_LINE_CHARS = 64 * 1024

function parseRun(text: string): RunId | null {
  const number = Number(text)
  return text === NONE || !Number.isSafeInteger(number) ? null : runId(number)
}
