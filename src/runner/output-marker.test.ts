import { describe, expect, it } from 'vitest'
import { runId } from '../base/ids.ts'
import { MarkedLines, outputMarker } from './output-marker.ts'

function read(chunks: readonly (string | Buffer)[]): [string, number | null][] {
  const lines: [string, number | null][] = []
  const splitter = new MarkedLines((text, run) => lines.push([text, run]))
  for (const chunk of chunks) splitter.push(Buffer.from(chunk as string))
  splitter.end()
  return lines
}

describe('marked lines', () => {
  const stream = `early\n${outputMarker(runId(7))}one\ntwo${outputMarker(runId(8))}three\n\n${outputMarker(null)}last é`
  const lines = [
    ['early', null],
    ['one', 7],
    ['two', 7],
    ['three', 8],
    ['', 8],
    ['last é', null],
  ]

  it('tags each line with the run that printed it', () => {
    expect(read([stream])).toEqual(lines)
  })

  it('does so for streams cut anywhere', () => {
    const bytes = Buffer.from(stream)
    expect(read(Array.from(bytes, (_, i) => bytes.subarray(i, i + 1)))).toEqual(lines)
  })

  it('cuts a line that never ends', () => {
    expect(read(['x'.repeat(70_000), 'y'])).toEqual([
      ['x'.repeat(70_000), null],
      ['y', null],
    ])
  })
})
