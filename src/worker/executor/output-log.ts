// Drains what one executor prints, whatever happens: its writes are synchronous, so a full pipe would stop its task. Passes
// lines on up to a rate, and keeps the end of it for death certificates.

import type { Readable } from 'node:stream'
import type { RunId } from '../../base/ids.ts'
import { MarkedLines } from '../../runner/output-marker.ts'

export type OutputStream = 'stdout' | 'stderr'

const TAIL_CHARS = 64 * 1024
const BYTES_PER_WINDOW = 2 ** 20
const WINDOW_MS = 1000

export class OutputLog {
  readonly #onLine: (stream: OutputStream, text: string, run: RunId | null) => void
  readonly #tail: string[] = []
  #tailChars = 0
  #windowStart = -Infinity
  #windowBytes = 0
  #dropped = 0

  constructor(onLine: (stream: OutputStream, text: string, run: RunId | null) => void) {
    this.#onLine = onLine
  }

  attach(stream: OutputStream, source: Readable): void {
    const lines = new MarkedLines((text, run) => this.#line(stream, text, run))
    source.on('data', (chunk: Buffer) => lines.push(chunk))
    source.on('end', () => lines.end())
    // A pipe whose other end died: what was read is all there is.
    source.on('error', () => lines.end())
  }

  /** The last lines of stderr, at most `maxLines` of them. */
  tail(maxLines: number): string {
    return this.#tail.slice(-maxLines).join('\n')
  }

  /** Says how much was dropped since the last time, if anything. */
  reportDropped(): void {
    if (this.#dropped === 0) return
    const text = `${this.#dropped} lines were dropped: this executor prints more than ${BYTES_PER_WINDOW / 2 ** 20} MiB/s`
    this.#dropped = 0
    this.#onLine('stderr', text, null)
  }

  #line(stream: OutputStream, text: string, run: RunId | null): void {
    if (stream === 'stderr') this.#keep(text)
    const now = performance.now()
    if (now - this.#windowStart >= WINDOW_MS) {
      this.#windowStart = now
      this.#windowBytes = 0
      this.reportDropped()
    }
    this.#windowBytes += text.length + 1
    if (this.#windowBytes > BYTES_PER_WINDOW) this.#dropped++
    else this.#onLine(stream, text, run)
  }

  #keep(text: string): void {
    this.#tail.push(text)
    this.#tailChars += text.length
    while (this.#tailChars > TAIL_CHARS && this.#tail.length > 1)
      this.#tailChars -= (this.#tail.shift() as string).length
  }
}
