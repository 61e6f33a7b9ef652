// A whole terminal that is redrawn in place, on its second screen: what was there before is back afterwards, with the last
// picture below it.

const ENTER = '\u001B[?1049h\u001B[?25l'
const LEAVE = '\u001B[?1049l\u001B[?25h'
const HOME = '\u001B[H'
const CLEAR_TO_END = '\u001B[J'
const HEIGHT_DEFAULT = 24

export class Screen {
  readonly #stream: NodeJS.WriteStream
  #last: string | null = null

  constructor(stream: NodeJS.WriteStream) {
    this.#stream = stream
  }

  show(text: string): void {
    if (this.#last === null) {
      this.#stream.write(ENTER)
      process.once('exit', this.restore)
    }
    this.#last = text
    // What does not fit is cut: a wrapped or scrolled line would not be drawn over.
    const { columns, rows } = this.#stream
    const lines = text.split('\n').slice(0, (rows || HEIGHT_DEFAULT) - 1)
    const cut = lines.map((line) => `${columns > 0 ? line.slice(0, columns) : line}\u001B[K`)
    this.#stream.write(`${HOME}${cut.join('\n')}\n${CLEAR_TO_END}`)
  }

  readonly restore = (): void => {
    if (this.#last === null) return
    this.#stream.write(`${LEAVE}${this.#last}\n`)
    this.#last = null
    process.off('exit', this.restore)
  }
}
